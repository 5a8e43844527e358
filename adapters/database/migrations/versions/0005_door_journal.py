"""Tables of the imaging doors: associations and what was refused, and reasons that belong to images."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS: tuple[str, ...] = (
    "ALTER TABLE answers ADD COLUMN warnings jsonb NOT NULL DEFAULT '[]'",
    "ALTER TABLE outcomes ADD COLUMN code text NOT NULL DEFAULT ''",
    """
    CREATE TABLE door_journal (
        association_id uuid PRIMARY KEY,
        door text NOT NULL,
        sender text NOT NULL,
        called text NOT NULL,
        address text NOT NULL,
        began_at timestamptz NOT NULL,
        seconds double precision NOT NULL,
        ended text NOT NULL CHECK (ended IN ('released', 'aborted', 'rejected', 'lost')),
        received_bytes bigint NOT NULL,
        statuses jsonb NOT NULL,
        reasons jsonb NOT NULL,
        sop_classes jsonb NOT NULL,
        transfer_syntaxes jsonb NOT NULL
    )
    """,
    "CREATE INDEX door_journal_began ON door_journal (began_at)",
    "COMMENT ON TABLE door_journal IS 'associations with the doors: who, what came, why anything was refused'",
    # NULL: the usual ones.
    "ALTER TABLE images ADD COLUMN destinations jsonb",
)


def upgrade() -> None:
    """Adds the tables; there is no way back but `restore`."""
    for statement in STATEMENTS:
        op.execute(statement)
