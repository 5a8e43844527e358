"""${message}."""

from alembic import op

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    """Describe what changes and why."""
    ${upgrades if upgrades else "op.execute('SELECT 1')"}
