"""Tables computed from readings: glycaemic metrics as revisions, forecasts and what then happened."""

from alembic import op

revision = "0007"
down_revision = "0006"

STATEMENTS: tuple[str, ...] = ()


def upgrade() -> None:
    """Adds the tables; there is no way back but `restore`."""
    for statement in STATEMENTS:
        op.execute(statement)
