"""Tables of the whole plant: readings, wearers' credentials, assessments and their counters, runs, versions."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    """
    ALTER TABLE answers
        ADD COLUMN priority text NOT NULL DEFAULT 'routine' CHECK (priority IN ('stat', 'routine')),
        ADD COLUMN forecast jsonb NOT NULL DEFAULT '[]',
        ADD COLUMN reason text NOT NULL DEFAULT '',
        ADD COLUMN inputs jsonb NOT NULL DEFAULT '[]',
        ADD COLUMN follows uuid
    """,
    """
    ALTER TABLE visible
        ADD COLUMN amended_at timestamptz,
        ADD COLUMN amended jsonb NOT NULL DEFAULT '{}'
    """,
    """
    ALTER TABLE images
        ADD COLUMN sop_class_uid text NOT NULL DEFAULT '',
        ADD COLUMN transfer_syntax_uid text NOT NULL DEFAULT '',
        ADD COLUMN media_type text NOT NULL DEFAULT 'application/dicom',
        ADD COLUMN laterality text NOT NULL DEFAULT '' CHECK (laterality IN ('', 'left', 'right'))
    """,
    # Every content of a reading is kept; the highest revision of a sensor time is the one that counts. Injected
    # readings of a wearer never stand in a window with real ones.
    """
    CREATE TABLE readings (
        subject_id text NOT NULL,
        simulated boolean NOT NULL,
        measured_at timestamptz NOT NULL,
        content text NOT NULL,
        revision integer NOT NULL CHECK (revision > 0),
        event_id uuid NOT NULL,
        glucose_mg_dl real NOT NULL,
        raw_value double precision NOT NULL,
        raw_unit text NOT NULL CHECK (raw_unit IN ('mg/dL', 'mmol/L')),
        clipped text NOT NULL CHECK (clipped IN ('', 'low', 'high')),
        trend text NOT NULL,
        device text NOT NULL,
        observed_at timestamptz NOT NULL,
        PRIMARY KEY (subject_id, simulated, measured_at, content),
        CONSTRAINT readings_revision UNIQUE (subject_id, simulated, measured_at, revision)
    )
    """,
    "COMMENT ON TABLE readings IS 'glucose readings by wearer and sensor time; the highest revision counts'",
    # Room in each page, so that a new stamp is written beside the old one and touches no index.
    """
    CREATE TABLE glucose_windows (
        subject_id text NOT NULL,
        simulated boolean NOT NULL,
        stamp uuid NOT NULL,
        PRIMARY KEY (subject_id, simulated)
    ) WITH (fillfactor = 60)
    """,
    "COMMENT ON TABLE glucose_windows IS 'changes with every change of a wearer''s readings: proves a cached window'",
    # A credential selects the wearer; only a salted hash of it is kept.
    """
    CREATE TABLE wearers (
        credential_id uuid PRIMARY KEY,
        subject_id text NOT NULL,
        label text NOT NULL,
        salt bytea NOT NULL,
        secret_hash bytea NOT NULL,
        created_at timestamptz NOT NULL,
        revoked_at timestamptz
    )
    """,
    "CREATE INDEX wearers_subject ON wearers (subject_id)",
    "COMMENT ON TABLE wearers IS 'credentials of uploaders: each selects one wearer'",
    """
    CREATE TABLE assessments (
        override_id uuid PRIMARY KEY,
        result_id uuid NOT NULL,
        task text NOT NULL,
        object_id text NOT NULL,
        event_id uuid NOT NULL,
        subject_id text NOT NULL,
        version text NOT NULL,
        clinician_id text NOT NULL,
        verdict text NOT NULL CHECK (verdict IN ('accepted', 'rejected', 'supplemented')),
        label text NOT NULL,
        differs boolean NOT NULL,
        counted_window integer,
        simulated boolean NOT NULL,
        assessed_at timestamptz NOT NULL,
        recorded_at timestamptz NOT NULL
    )
    """,
    "CREATE INDEX assessments_result ON assessments (result_id, assessed_at)",
    "CREATE INDEX assessments_event ON assessments (event_id, task)",
    "COMMENT ON TABLE assessments IS 'what clinicians said of results; `counted_window`: where it counts'",
    """
    CREATE TABLE retrain_counters (
        task text PRIMARY KEY,
        n integer NOT NULL CHECK (n >= 0),
        retrain_window integer NOT NULL CHECK (retrain_window >= 0)
    )
    """,
    "COMMENT ON TABLE retrain_counters IS 'corrections of the open window of each task; its row lock is the counter'",
    """
    CREATE TABLE runs (
        request_id uuid PRIMARY KEY,
        task text NOT NULL,
        retrain_window integer NOT NULL,
        reason text NOT NULL,
        state text NOT NULL CHECK (state IN
            ('REQUESTED', 'RUNNING', 'TRAINED', 'REGISTERED', 'REJECTED', 'FAILED')),
        stage text NOT NULL DEFAULT '',
        attempt integer NOT NULL DEFAULT 0,
        worker text NOT NULL DEFAULT '',
        lease_until timestamptz,
        snapshot text NOT NULL DEFAULT '',
        version text NOT NULL DEFAULT '',
        figures jsonb NOT NULL DEFAULT '{}',
        why text NOT NULL DEFAULT '',
        requested_at timestamptz NOT NULL,
        ended_at timestamptz
    )
    """,
    "COMMENT ON TABLE runs IS 'training runs; the row is the truth, the topic a bell'",
    """
    CREATE TABLE versions (
        task text NOT NULL,
        version text NOT NULL,
        request_id uuid,
        weights_uri text NOT NULL,
        weights_sha256 text NOT NULL,
        operating_point jsonb,
        abstention_band jsonb NOT NULL,
        preprocessing_version text NOT NULL,
        figures jsonb NOT NULL DEFAULT '{}',
        registry_uri text NOT NULL DEFAULT '',
        approved_by text NOT NULL DEFAULT '',
        approved_at timestamptz,
        registered_at timestamptz NOT NULL,
        PRIMARY KEY (task, version)
    )
    """,
    "COMMENT ON TABLE versions IS 'trained versions beside the one that a card brings: weights and operating point'",
    """
    CREATE TABLE release_orders (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        task text NOT NULL,
        version text NOT NULL,
        event text NOT NULL,
        share double precision NOT NULL,
        by_whom text NOT NULL,
        why text NOT NULL,
        ordered_at timestamptz NOT NULL,
        done_at timestamptz,
        refused text NOT NULL DEFAULT ''
    )
    """,
    "CREATE INDEX release_orders_open ON release_orders (id) WHERE done_at IS NULL",
    "COMMENT ON TABLE release_orders IS 'moves of versions that were asked for; the release manager makes them'",
    "ALTER TABLE releases DROP CONSTRAINT releases_state_check",
    """
    ALTER TABLE releases ADD CONSTRAINT releases_state_check CHECK (state IN
        ('TRAINED', 'REGISTERED', 'SHADOW', 'CANARY', 'PROMOTED', 'REJECTED', 'ROLLED_BACK', 'RETIRED'))
    """,
)


def upgrade() -> None:
    """Adds the tables; there is no way back but `restore`."""
    for statement in STATEMENTS:
        op.execute(statement)
