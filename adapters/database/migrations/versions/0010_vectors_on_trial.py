"""A wearer's refitted vector is on trial before it takes the place of the one in force."""

from alembic import op

revision = "0010"
down_revision = "0009"

STATEMENTS: tuple[str, ...] = (
    "ALTER TABLE wearer_models DROP CONSTRAINT wearer_models_outcome_check",
    # `superseded`: was still on trial when the next attempt was noted.
    """
    ALTER TABLE wearer_models ADD CONSTRAINT wearer_models_outcome_check CHECK (outcome IN
        ('deployed', 'skipped: insufficient data', 'rejected: no improvement', 'on trial', 'rolled back: worse',
         'superseded'))
    """,
)


def upgrade() -> None:
    """Widens the outcomes; there is no way back but `restore`."""
    for statement in STATEMENTS:
        op.execute(statement)
