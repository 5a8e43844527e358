"""PostgreSQL: answers, visible results, outcomes, identities, releases, outbox, audit. SQL lives in this room only."""

from adapters.database.database import Database
from adapters.database.migrating import expected_revision, migrate
from adapters.database.records import (
    ImageIdentity,
    Key,
    OutboxRow,
    Recorded,
    Release,
    ResultFilter,
    State,
    StoredImage,
    StoredOutcome,
    StoredResult,
    Trail,
    Visible,
)

__all__ = [
    "Database",
    "ImageIdentity",
    "Key",
    "OutboxRow",
    "Recorded",
    "Release",
    "ResultFilter",
    "State",
    "StoredImage",
    "StoredOutcome",
    "StoredResult",
    "Trail",
    "Visible",
    "expected_revision",
    "migrate",
]
