"""Tables computed from readings: glycaemic metrics as revisions, forecasts and what then happened."""

from alembic import op

revision = "0007"
down_revision = "0006"

STATEMENTS: tuple[str, ...] = (
    # Written in the transaction that changes readings: what is marked is computed anew, whatever dies in between.
    """
    CREATE TABLE glucose_marks (
        subject_id text NOT NULL,
        simulated boolean NOT NULL,
        day date NOT NULL,
        from_at timestamptz NOT NULL,
        to_at timestamptz NOT NULL,
        changes integer NOT NULL DEFAULT 1,
        marked_at timestamptz NOT NULL,
        PRIMARY KEY (subject_id, simulated, day)
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX glucose_marks_due ON glucose_marks (marked_at)",
    "COMMENT ON TABLE glucose_marks IS 'days of wearers whose readings changed since their metrics were computed'",
    # Whole numbers (milliseconds, tenths of mg/dL), so that sums are the same in any order.
    """
    CREATE TABLE glucose_days (
        subject_id text NOT NULL,
        simulated boolean NOT NULL,
        day date NOT NULL,
        readings integer NOT NULL,
        clipped integer NOT NULL,
        very_low bigint NOT NULL,
        low bigint NOT NULL,
        target bigint NOT NULL,
        high bigint NOT NULL,
        very_high bigint NOT NULL,
        weighted bigint NOT NULL,
        squared bigint NOT NULL,
        PRIMARY KEY (subject_id, simulated, day)
    )
    """,
    "COMMENT ON TABLE glucose_days IS 'sums of the readings of a wearer''s day (UTC), from which metrics are added up'",
    """
    CREATE TABLE glucose_metrics (
        subject_id text NOT NULL,
        simulated boolean NOT NULL,
        ends_on date NOT NULL,
        days integer NOT NULL,
        revision integer NOT NULL CHECK (revision > 0),
        figures jsonb NOT NULL,
        computed_at timestamptz NOT NULL,
        published boolean NOT NULL DEFAULT false,
        PRIMARY KEY (subject_id, simulated, ends_on, days)
    )
    """,
    "CREATE INDEX glucose_metrics_unpublished ON glucose_metrics (computed_at) WHERE NOT published",
    "COMMENT ON TABLE glucose_metrics IS 'glycaemic metrics of a wearer: the highest revision of each window of days'",
    # A forecast that was asked for, beside those that the stream makes (answers).
    """
    CREATE TABLE glucose_predictions (
        prediction_id uuid PRIMARY KEY,
        subject_id text NOT NULL,
        simulated boolean NOT NULL,
        made_at timestamptz NOT NULL,
        newest_at timestamptz,
        version text NOT NULL,
        fallback text NOT NULL,
        content jsonb NOT NULL
    )
    """,
    "CREATE INDEX glucose_predictions_wearer ON glucose_predictions (subject_id, made_at)",
    "COMMENT ON TABLE glucose_predictions IS 'forecasts that were asked for over HTTP, as they were answered'",
    # Even the owner reads and writes only within the scope of one wearer, which a transaction must name; `*` is for
    # writing them and for joining them with what then happened.
    "ALTER TABLE glucose_predictions ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE glucose_predictions FORCE ROW LEVEL SECURITY",
    """
    CREATE POLICY glucose_predictions_of_the_wearer ON glucose_predictions
        USING (current_setting('clinstream.wearer', true) IN (subject_id, '*'))
        WITH CHECK (current_setting('clinstream.wearer', true) IN (subject_id, '*'))
    """,
    """
    CREATE TABLE glucose_truths (
        forecast_id uuid NOT NULL,
        horizon_minutes integer NOT NULL,
        subject_id text NOT NULL,
        simulated boolean NOT NULL,
        version text NOT NULL,
        target_at timestamptz NOT NULL,
        expected real NOT NULL,
        low real NOT NULL,
        high real NOT NULL,
        newest real NOT NULL,
        truth real NOT NULL,
        truth_at timestamptz NOT NULL,
        PRIMARY KEY (forecast_id, horizon_minutes)
    )
    """,
    "CREATE INDEX glucose_truths_wearer ON glucose_truths (subject_id, simulated, target_at)",
    "COMMENT ON TABLE glucose_truths IS 'what a forecast said of a time and what the sensor then reported'",
)


def upgrade() -> None:
    """Adds the tables; there is no way back but `restore`."""
    for statement in STATEMENTS:
        op.execute(statement)
