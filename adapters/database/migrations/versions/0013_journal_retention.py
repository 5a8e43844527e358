"""The one way in which old entries of the doors' journal go: services may not delete from it otherwise."""

from alembic import op
from sqlalchemy import text

revision = "0013"
down_revision = "0012"

# Runs as the owner; a day stays whatever is asked. The path is fixed, or a caller's temporary table would take the
# journal's place.
PRUNE = """
CREATE FUNCTION prune_door_journal(before timestamptz, most integer) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = {schema}, pg_temp AS $$
    WITH gone AS (
        DELETE FROM door_journal WHERE association_id IN (
            SELECT association_id FROM door_journal
            WHERE began_at < least(before, now() - interval '1 day') ORDER BY began_at LIMIT most
        ) RETURNING 1
    )
    SELECT count(*) FROM gone
$$
"""


def upgrade() -> None:
    """Adds the function; there is no way back but `restore`."""
    schema = op.get_bind().execute(text("SELECT quote_ident(current_schema())")).scalar_one()
    op.execute(PRUNE.format(schema=schema))
    op.execute("REVOKE ALL ON FUNCTION prune_door_journal(timestamptz, integer) FROM PUBLIC")
    op.execute(
        "COMMENT ON FUNCTION prune_door_journal(timestamptz, integer) IS 'deletes the oldest entries of the journal'"
    )
