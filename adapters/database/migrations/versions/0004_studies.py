"""Tables of studies: what was expected of each, what came, and what was promised to be kept."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS: tuple[str, ...] = (
    # What searches and retrievals need of each object; personal, so guarded like identities.
    """
    CREATE TABLE instances (
        event_id uuid PRIMARY KEY,
        study_id text NOT NULL,
        subject_id text NOT NULL,
        study_instance_uid text NOT NULL,
        series_instance_uid text NOT NULL,
        sop_instance_uid text NOT NULL,
        sop_class_uid text NOT NULL,
        transfer_syntax_uid text NOT NULL,
        modality text NOT NULL,
        patient_id text NOT NULL,
        patient_name text NOT NULL,
        accession_number text NOT NULL,
        study_date text NOT NULL,
        blob_uri text NOT NULL,
        size_bytes bigint NOT NULL,
        attributes jsonb NOT NULL,
        observed_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX instances_study ON instances (study_instance_uid, series_instance_uid)",
    "CREATE INDEX instances_object ON instances (sop_instance_uid)",
    "CREATE INDEX instances_patient ON instances (patient_id)",
    "CREATE INDEX instances_accession ON instances (accession_number)",
    "CREATE INDEX instances_date ON instances (study_date)",
    "ALTER TABLE instances ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE instances FORCE ROW LEVEL SECURITY",
    "CREATE POLICY instances_write ON instances FOR INSERT WITH CHECK (true)",
    "CREATE POLICY instances_read ON instances FOR SELECT USING ((SELECT personal_read_declared()))",
    "COMMENT ON TABLE instances IS 'headers of stored DICOM objects, for DICOMweb; guarded like identities'",
    # One row a study and sender; `expectations` holds a number by source, `listed` the objects that were named.
    """
    CREATE TABLE study_ledger (
        study_id text NOT NULL,
        sender text NOT NULL,
        state text NOT NULL CHECK (state IN ('receiving', 'complete', 'assumed', 'incomplete')),
        revision integer NOT NULL CHECK (revision > 0),
        received integer NOT NULL CHECK (received >= 0),
        expectations jsonb NOT NULL DEFAULT '{}',
        listed text[] NOT NULL DEFAULT '{}',
        why text NOT NULL DEFAULT '',
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        seen_at timestamptz NOT NULL,
        released_at timestamptz,
        closed_at timestamptz,
        PRIMARY KEY (study_id, sender)
    )
    """,
    "CREATE INDEX study_ledger_open ON study_ledger (seen_at) WHERE state = 'receiving'",
    "COMMENT ON TABLE study_ledger IS 'what each sender was expected to send of a study, and what came'",
    """
    CREATE TABLE study_objects (
        study_id text NOT NULL,
        sender text NOT NULL,
        object_id text NOT NULL,
        event_id uuid NOT NULL,
        revision integer NOT NULL,
        PRIMARY KEY (study_id, sender, object_id, event_id)
    )
    """,
    "COMMENT ON TABLE study_objects IS 'the objects of each study and sender, and in which revision they came'",
    # A request that was answered with success stays until its report was taken.
    """
    CREATE TABLE commitments (
        sender text NOT NULL,
        transaction_uid text NOT NULL,
        called text NOT NULL,
        asked jsonb NOT NULL,
        state text NOT NULL CHECK (state IN ('pending', 'reported', 'given_up')),
        attempts integer NOT NULL DEFAULT 0,
        next_at timestamptz NOT NULL,
        asked_at timestamptz NOT NULL,
        reported_at timestamptz,
        failed jsonb NOT NULL DEFAULT '[]',
        keep_until timestamptz,
        PRIMARY KEY (sender, transaction_uid)
    )
    """,
    "CREATE INDEX commitments_pending ON commitments (next_at) WHERE state = 'pending'",
    "COMMENT ON TABLE commitments IS 'requests for storage commitment and how they were answered'",
    """
    CREATE TABLE rejections (
        object_id text NOT NULL,
        event_id uuid NOT NULL,
        subject_id text NOT NULL,
        sender text NOT NULL,
        why text NOT NULL,
        observed_at timestamptz NOT NULL,
        PRIMARY KEY (object_id, event_id)
    )
    """,
    "COMMENT ON TABLE rejections IS 'objects that a rejection note (event_id) took back; their results are withdrawn'",
)


def upgrade() -> None:
    """Adds the tables; there is no way back but `restore`."""
    for statement in STATEMENTS:
        op.execute(statement)
