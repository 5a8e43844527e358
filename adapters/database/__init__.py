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
    Shown,
    State,
    StoredImage,
    StoredOutcome,
    StoredResult,
    Trail,
    Visible,
    Withdrawal,
)

__all__ = [
    "Database",
    "ImageIdentity",
    "Key",
    "OutboxRow",
    "Recorded",
    "Release",
    "ResultFilter",
    "Shown",
    "State",
    "StoredImage",
    "StoredOutcome",
    "StoredResult",
    "Trail",
    "Visible",
    "Withdrawal",
    "expected_revision",
    "migrate",
]
