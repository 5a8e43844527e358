"""Tables of what left: exports of results to PACS and FHIR servers."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS: tuple[str, ...] = (
    # `next_at` is when somebody may try it; whoever tries it moves it on first, so that a crash costs a pause and no
    # sending. `changed` is what an amendment says, `sent` the SOP classes and instances that left.
    """
    CREATE TABLE exports (
        export_id uuid PRIMARY KEY,
        filed bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
        result_id uuid NOT NULL,
        task text NOT NULL,
        object_id text NOT NULL,
        subject_id text NOT NULL,
        action text NOT NULL CHECK (action IN ('publish', 'amend', 'withdraw')),
        change text NOT NULL,
        changed jsonb NOT NULL,
        destination text NOT NULL,
        state text NOT NULL CHECK (state IN ('waiting', 'sent', 'confirmed', 'failed', 'cancelled')),
        reason text NOT NULL DEFAULT '',
        urgent boolean NOT NULL,
        attempts integer NOT NULL DEFAULT 0,
        refusals integer NOT NULL DEFAULT 0,
        next_at timestamptz NOT NULL,
        until timestamptz NOT NULL,
        filed_at timestamptz NOT NULL,
        ended_at timestamptz,
        sent jsonb NOT NULL DEFAULT '[]'
    )
    """,
    "CREATE INDEX exports_waiting ON exports (next_at) WHERE state = 'waiting'",
    "CREATE INDEX exports_result ON exports (result_id, destination)",
    "COMMENT ON TABLE exports IS 'results on their way to PACS and FHIR servers; the row is the queue'",
)


def upgrade() -> None:
    """Adds the tables; there is no way back but `restore`."""
    for statement in STATEMENTS:
        op.execute(statement)
