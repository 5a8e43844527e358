"""Tables of what is told of a study: which studies are to be looked at, and each revision of what was told."""

from alembic import op

revision = "0012"
down_revision = "0011"

STATEMENTS: tuple[str, ...] = (
    # A mark stays until everything of the study has ended; `number` grows with each mark, so that none is lost that
    # comes while somebody looks.
    """
    CREATE TABLE study_marks (
        study_id text PRIMARY KEY,
        number bigint NOT NULL DEFAULT 1,
        due_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX study_marks_due ON study_marks (due_at)",
    "COMMENT ON TABLE study_marks IS 'studies of which something changed since it was last told'",
    """
    CREATE TABLE study_reports (
        report_id uuid PRIMARY KEY,
        study_id text NOT NULL,
        task text NOT NULL,
        revision integer NOT NULL CHECK (revision > 0),
        digest text NOT NULL,
        decision text NOT NULL
            CHECK (decision IN ('finding', 'no_finding', 'abstained', 'refused', 'not_analysed')),
        views jsonb NOT NULL,
        results uuid[] NOT NULL,
        changed jsonb NOT NULL,
        follows uuid,
        made_at timestamptz NOT NULL,
        withdrawn_at timestamptz,
        UNIQUE (study_id, task, revision)
    )
    """,
    "CREATE INDEX study_reports_results ON study_reports USING gin (results)",
    "COMMENT ON TABLE study_reports IS 'what was told of a study by a model, each revision'",
    # What waited to leave when reports became one a study leaves with its study.
    """
    INSERT INTO study_marks (study_id, due_at)
    SELECT DISTINCT o.study_id, now() FROM study_objects o JOIN exports e USING (object_id) WHERE e.state = 'waiting'
    """,
)


def upgrade() -> None:
    """Adds the tables; there is no way back but `restore`."""
    for statement in STATEMENTS:
        op.execute(statement)
