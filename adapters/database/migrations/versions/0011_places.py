"""Columns for where on an image a finding is suspected."""

from alembic import op

revision = "0011"
down_revision = "0010"

STATEMENTS: tuple[str, ...] = (
    "ALTER TABLE answers ADD COLUMN regions jsonb NOT NULL DEFAULT '[]', ADD COLUMN heat jsonb",
)


def upgrade() -> None:
    """Adds the columns; there is no way back but `restore`."""
    for statement in STATEMENTS:
        op.execute(statement)
