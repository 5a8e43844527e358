"""Which version of the model a wearer's vector was fitted to: another version must not be given it."""

from alembic import op

revision = "0009"
down_revision = "0008"

STATEMENTS: tuple[str, ...] = (
    "ALTER TABLE wearer_models ADD COLUMN base_version text NOT NULL DEFAULT ''",
    # The policy binds the owner too, who names nobody here.
    "ALTER TABLE wearer_models NO FORCE ROW LEVEL SECURITY",
    "UPDATE wearer_models SET base_version = split_part(hyperparameters->>'model', ' ', 2) "
    "WHERE hyperparameters ? 'model'",
    "ALTER TABLE wearer_models FORCE ROW LEVEL SECURITY",
    "ALTER TABLE wearer_models ALTER COLUMN base_version DROP DEFAULT",
)


def upgrade() -> None:
    """Adds the column, filled from what earlier attempts noted; there is no way back but `restore`."""
    for statement in STATEMENTS:
        op.execute(statement)
