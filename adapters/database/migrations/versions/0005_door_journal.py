"""Tables of the imaging doors: associations and what was refused, and reasons that belong to images."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS: tuple[str, ...] = (
    "ALTER TABLE answers ADD COLUMN warnings jsonb NOT NULL DEFAULT '[]'",
    "ALTER TABLE outcomes ADD COLUMN code text NOT NULL DEFAULT ''",
)


def upgrade() -> None:
    """Adds the tables; there is no way back but `restore`."""
    for statement in STATEMENTS:
        op.execute(statement)
