"""The zone of a wearer's clock, so that intervals of forecasts can fit the hour before the wearer has a vector."""

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Adds the column; there is no way back but `restore`."""
    op.execute("ALTER TABLE wearers ADD COLUMN zone text NOT NULL DEFAULT ''")
