"""What was noted of a thing: its trail, the audit, messages that wait."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from adapters.database.records.images import StoredImage
from adapters.database.records.results import StoredOutcome, StoredResult
from schemas.events import Answer


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A message that was decided in a transaction and waits to be sent."""

    id: int
    topic: str
    key: bytes | None
    headers: list[tuple[str, bytes]]
    value: bytes


@dataclass(frozen=True, slots=True)
class Trail:
    """Everything that the database knows of the events of one thing."""

    images: list[StoredImage] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    results: list[StoredResult] = field(default_factory=list)
    outcomes: list[StoredOutcome] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit: who did what to which subjects, and to which end."""

    id: int
    at: datetime
    by_whom: str
    purpose: str
    action: str
    details: dict[str, Any]
