"""First tables: answers, visible results, outcomes, images and identities, outbox, releases, audit."""

from alembic import op

revision = "0001"
down_revision = None

ANSWERS = """
CREATE TABLE answers (
    answer_id uuid PRIMARY KEY,
    event_id uuid NOT NULL,
    object_id text NOT NULL,
    content text NOT NULL,
    subject_id text NOT NULL,
    task text NOT NULL,
    version text NOT NULL,
    preprocessing_version text NOT NULL,
    label text NOT NULL,
    score double precision NOT NULL,
    threshold double precision NOT NULL,
    probabilities jsonb NOT NULL,
    abstained boolean NOT NULL,
    arm text NOT NULL CHECK (arm IN ('serving', 'canary', 'shadow')),
    release_epoch bigint NOT NULL,
    batch_size integer NOT NULL,
    observed_topic text NOT NULL,
    observed_partition integer NOT NULL,
    observed_offset bigint NOT NULL,
    origin_topic text NOT NULL,
    origin_partition integer NOT NULL,
    origin_offset bigint NOT NULL,
    hops jsonb NOT NULL,
    notice text NOT NULL,
    use_status text NOT NULL,
    simulated boolean NOT NULL,
    recorded_at timestamptz NOT NULL
);
CREATE INDEX answers_event ON answers (event_id);
COMMENT ON TABLE answers IS 'what every version of a model said to every event; never changed once written';
"""

# The primary key is the promise of one visible result for (object, content, task); the second key makes revisions
# unique, and, being filled by 1 + the highest committed one, free of gaps.
VISIBLE = """
CREATE TABLE visible (
    object_id text NOT NULL,
    content text NOT NULL,
    task text NOT NULL,
    revision integer NOT NULL CHECK (revision > 0),
    answer_id uuid NOT NULL,
    event_id uuid NOT NULL,
    supersedes uuid,
    subject_id text NOT NULL,
    simulated boolean NOT NULL,
    visible_at timestamptz NOT NULL,
    withdrawn_at timestamptz,
    withdrawn_why text,
    PRIMARY KEY (object_id, content, task),
    CONSTRAINT visible_revision UNIQUE (object_id, task, revision)
);
CREATE INDEX visible_subject ON visible (subject_id);
CREATE INDEX visible_newest ON visible (visible_at);
COMMENT ON TABLE visible IS 'the one result of each object, content and task that clinicians and subscribers see';
"""

OUTCOMES = """
CREATE TABLE outcomes (
    event_id uuid NOT NULL,
    task text NOT NULL,
    fate text NOT NULL
        CHECK (fate IN ('answered', 'refused', 'not_applicable', 'duplicate_of', 'superseded', 'dead')),
    reason text NOT NULL,
    answer_id uuid,
    object_id text NOT NULL,
    content text NOT NULL,
    subject_id text NOT NULL,
    origin_topic text,
    origin_partition integer,
    origin_offset bigint,
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (event_id, task)
);
CREATE INDEX outcomes_subject ON outcomes (subject_id);
COMMENT ON TABLE outcomes IS 'how each accepted event ended for each task; * where no task was chosen';
"""

IMAGES = """
CREATE TABLE images (
    event_id uuid PRIMARY KEY,
    object_id text NOT NULL,
    subject_id text NOT NULL,
    study_id text NOT NULL,
    blob_uri text NOT NULL,
    modality text NOT NULL,
    sender text NOT NULL,
    simulated boolean NOT NULL,
    wrapped boolean NOT NULL,
    observed_at timestamptz
);
CREATE INDEX images_object ON images (object_id);
CREATE INDEX images_study ON images (study_id);
CREATE INDEX images_subject ON images (subject_id);
COMMENT ON TABLE images IS 'image events and where their bytes lie, by pseudonym';
"""

AUDIT = """
CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    by_whom text NOT NULL CHECK (by_whom <> ''),
    purpose text NOT NULL CHECK (purpose <> ''),
    action text NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    xact xid8 NOT NULL DEFAULT pg_current_xact_id()
);
COMMENT ON TABLE audit IS 'who read or decided what; lines are added and never changed';

CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

CREATE FUNCTION personal_read_declared() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT 1 FROM audit
        WHERE id = nullif(current_setting('clinstream.audit', true), '')::bigint
          AND xact = pg_current_xact_id_if_assigned()
    )
$$;
COMMENT ON FUNCTION personal_read_declared IS 'true once this transaction has written its own line of the audit';
"""

# FORCE makes the policies hold for the owner of the tables too. Without a line in the audit written by the same
# transaction, every SELECT finds nothing.
PERSONAL = """
CREATE TABLE identities (
    subject_id text PRIMARY KEY,
    issuer text NOT NULL,
    patient_id text NOT NULL,
    patient_name text NOT NULL,
    birth_date text NOT NULL,
    sex text NOT NULL
);
CREATE INDEX identities_patient ON identities (patient_id);
CREATE TABLE studies (
    study_id text PRIMARY KEY,
    subject_id text NOT NULL,
    study_instance_uid text NOT NULL,
    accession_number text NOT NULL
);
CREATE INDEX studies_accession ON studies (accession_number);
CREATE INDEX studies_uid ON studies (study_instance_uid);

ALTER TABLE identities ENABLE ROW LEVEL SECURITY;
ALTER TABLE identities FORCE ROW LEVEL SECURITY;
ALTER TABLE studies ENABLE ROW LEVEL SECURITY;
ALTER TABLE studies FORCE ROW LEVEL SECURITY;
CREATE POLICY identities_write ON identities FOR INSERT WITH CHECK (true);
CREATE POLICY identities_read ON identities FOR SELECT USING ((SELECT personal_read_declared()));
CREATE POLICY studies_write ON studies FOR INSERT WITH CHECK (true);
CREATE POLICY studies_read ON studies FOR SELECT USING ((SELECT personal_read_declared()));
COMMENT ON TABLE identities IS 'who a pseudonymous subject is; readable only by a transaction that audits itself';
COMMENT ON TABLE studies IS 'accession numbers and study UIDs of pseudonymous studies; guarded like identities';
"""

OUTBOX = """
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    topic text NOT NULL,
    key bytea,
    headers jsonb NOT NULL,
    value bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_at timestamptz
);
CREATE INDEX outbox_unsent ON outbox (id) WHERE sent_at IS NULL;
COMMENT ON TABLE outbox IS 'messages decided in a transaction; the relay sends them in the order of id';
"""

RELEASES = """
CREATE TABLE releases (
    epoch bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task text NOT NULL,
    version text NOT NULL,
    state text NOT NULL CHECK (state IN ('SHADOW', 'CANARY', 'PROMOTED', 'RETIRED')),
    share double precision NOT NULL CHECK (share >= 0 AND share <= 1),
    at timestamptz NOT NULL,
    by_whom text NOT NULL,
    why text NOT NULL
);
CREATE INDEX releases_task ON releases (task, epoch);
COMMENT ON TABLE releases IS 'the log of release decisions; the newest row of a task and version is its state';
"""


def upgrade() -> None:
    """Creates the tables of the first release; there is no way back but `restore`."""
    for part in (ANSWERS, VISIBLE, OUTCOMES, IMAGES, AUDIT, PERSONAL, OUTBOX, RELEASES):
        for statement in _statements(part):
            op.execute(statement)


def _statements(script: str) -> list[str]:
    """asyncpg prepares one statement at a time; a body between $$ is not split."""
    pieces, current, quoted = [], [], False
    for line in script.strip().splitlines():
        current.append(line)
        quoted ^= line.count("$$") % 2 == 1
        if line.endswith(";") and not quoted:
            pieces.append("\n".join(current))
            current = []
    return pieces
