"""Tables of uploaders' documents beside readings: treatments, device states, profiles."""

from alembic import op

revision = "0006"
down_revision = "0005"

STATEMENTS: tuple[str, ...] = (
    # A deletion is a revision like another. When a reading came in is told by the clock at its insertion: the row lock
    # of the wearer's stamp is held then, so that for one wearer this order is the order of the commits.
    """
    ALTER TABLE readings
        ADD COLUMN deleted boolean NOT NULL DEFAULT false,
        ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
    """,
    # When a wearer's readings last changed: a follower that asks often is told so without a look at the readings.
    "ALTER TABLE glucose_windows ADD COLUMN changed_at timestamptz NOT NULL DEFAULT clock_timestamp()",
    """
    CREATE TABLE documents (
        subject_id text NOT NULL,
        collection text NOT NULL CHECK (collection IN
            ('devicestatus', 'treatments', 'profile', 'food', 'activity', 'settings', 'fhir')),
        identifier text NOT NULL CHECK (identifier <> ''),
        at timestamptz NOT NULL,
        body jsonb NOT NULL,
        created_ms bigint NOT NULL,
        modified_ms bigint NOT NULL,
        deleted boolean NOT NULL DEFAULT false,
        PRIMARY KEY (subject_id, collection, identifier),
        CONSTRAINT documents_modified UNIQUE (subject_id, collection, modified_ms)
    )
    """,
    "CREATE INDEX documents_at ON documents (subject_id, collection, at DESC)",
    "COMMENT ON TABLE documents IS 'what uploaders keep beside readings: returned as it came, never interpreted'",
    # Even the owner reads and writes only within the scope of one wearer, which a transaction must name.
    "ALTER TABLE documents ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE documents FORCE ROW LEVEL SECURITY",
    """
    CREATE POLICY documents_of_the_wearer ON documents
        USING (subject_id = current_setting('clinstream.wearer', true))
        WITH CHECK (subject_id = current_setting('clinstream.wearer', true))
    """,
)


def upgrade() -> None:
    """Adds the tables; there is no way back but `restore`."""
    for statement in STATEMENTS:
        op.execute(statement)
