"""Tables of what is personal to a wearer: the fitted vector and its record."""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS: tuple[str, ...] = (
    # Every attempt is a line; the vector that forecasts use is the active line's. A lane takes vectors up with the
    # windows that it reads, and names whom it reads; `used_at` is when one last did.
    """
    CREATE TABLE wearer_models (
        subject_id text NOT NULL,
        simulated boolean NOT NULL,
        number integer NOT NULL CHECK (number > 0),
        version text NOT NULL,
        outcome text NOT NULL CHECK (outcome IN
            ('deployed', 'skipped: insufficient data', 'rejected: no improvement')),
        active boolean NOT NULL,
        vector real[] NOT NULL,
        trained_at timestamptz NOT NULL,
        used_at timestamptz,
        data_from timestamptz,
        data_until timestamptz,
        readings integer NOT NULL,
        features jsonb NOT NULL,
        hyperparameters jsonb NOT NULL,
        metrics jsonb NOT NULL,
        PRIMARY KEY (subject_id, simulated, number),
        CONSTRAINT wearer_models_only_deployed CHECK (NOT active OR outcome = 'deployed')
    )
    """,
    "CREATE UNIQUE INDEX wearer_models_active ON wearer_models (subject_id, simulated) WHERE active",
    "COMMENT ON TABLE wearer_models IS 'what was fitted to a wearer, and whether it was better; one line is active'",
    # Even the owner reads and writes only what belongs to the wearers that the transaction names.
    "ALTER TABLE wearer_models ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE wearer_models FORCE ROW LEVEL SECURITY",
    """
    CREATE POLICY wearer_models_of_the_wearers ON wearer_models
        USING (subject_id = ANY (
            (SELECT string_to_array(current_setting('clinstream.wearers', true), ','))::text[]))
        WITH CHECK (subject_id = ANY (
            (SELECT string_to_array(current_setting('clinstream.wearers', true), ','))::text[]))
    """,
)


def upgrade() -> None:
    """Adds the tables; there is no way back but `restore`."""
    for statement in STATEMENTS:
        op.execute(statement)
