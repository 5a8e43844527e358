"""A column for what is measured on an image for research; empty unless an installation switches it on."""

from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Adds the column; there is no way back but `restore`."""
    op.execute("ALTER TABLE answers ADD COLUMN research jsonb")
