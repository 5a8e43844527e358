"""Records as they come off the log, a step that does what a test says, and a place that keeps decisions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID, uuid5

from consumers.delivery import Delivery, Headers
from consumers.outcomes import Batch, Outcome
from schemas import envelope, ids
from schemas.errors import DatabaseUnavailable
from schemas.events import Base, OutcomeDecided, VitalsObserved

TOPIC = "observed.vitals"
WHEN = datetime(2026, 1, 31, 8, tzinfo=UTC)


@dataclass(frozen=True)
class Arrived:
    """A record of the log."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: float = 1_700_000_000.0


def vitals(number: int) -> VitalsObserved:
    """The `number`-th reading of a made-up stay."""
    return VitalsObserved(
        event_id=uuid5(ids.NAMESPACE, f"test {number}"),
        object_id=f"sub-0@{number}",
        content=f"content {number}",
        subject_id="sub-0",
        features={"hr": float(number)},
        measured_at=WHEN,
        observed_at=WHEN,
    )


def number_of(delivery: Delivery) -> int:
    """Which reading a delivery is."""
    event = delivery.event
    assert isinstance(event, VitalsObserved)
    return int(event.features["hr"] or 0)


def packed(number: int, *, priority: str = "routine", attempt: int = 1) -> tuple[list[tuple[str, bytes]], bytes]:
    """Headers and value of the `number`-th reading as its door publishes them."""
    event = vitals(number)
    more = {"priority": priority} | ({"attempt": str(attempt)} if attempt > 1 else {})
    return envelope.pack(
        event,
        id=str(event.event_id),
        source="test",
        subject=event.subject_id,
        time=WHEN,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        extensions=more,
    )


def arrival(
    number: int, *, key: bytes | None = b"stay", partition: int = 0, priority: str = "routine", attempt: int = 1
) -> Arrived:
    """The `number`-th reading at the offset of that number."""
    headers, value = packed(number, priority=priority, attempt=attempt)
    return Arrived(TOPIC, partition, number, key, value, headers)


def poison(number: int) -> Arrived:
    """A record that is no JSON."""
    headers, _ = packed(number)
    return Arrived(TOPIC, 0, number, b"stay", b"<html>", headers)


ONE_BY_ONE = Batch(1, 0.0)
Answer = Callable[[Sequence[Delivery]], Sequence[Sequence[Outcome]]]


@dataclass
class ToyStep:
    """Answers with what `answer` returns or raises; `seen` keeps the numbers of each call."""

    answer: Answer = lambda batch: [[] for _ in batch]
    name: str = "toy"
    topics: tuple[str, ...] = (TOPIC,)
    accepts: tuple[type[Base], ...] = (VitalsObserved,)
    order: Literal["key", "none"] = "none"
    batch: Batch = ONE_BY_ONE
    in_flight: int = 16
    seen: list[list[int]] = field(default_factory=list)

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[Sequence[Outcome]]:
        """One list of outcomes a delivery."""
        self.seen.append([number_of(each) for each in batch])
        return self.answer(batch)


@dataclass
class Kept:
    """Decisions in memory; `away` makes it unreachable, `refuses` makes it raise what it holds."""

    rows: dict[tuple[UUID, str], OutcomeDecided] = field(default_factory=dict)
    away: bool = False
    refuses: Exception | None = None

    async def decide(self, outcomes: Sequence[OutcomeDecided]) -> None:
        """Keeps them."""
        if self.away:
            raise DatabaseUnavailable("the database is away")
        if self.refuses is not None:
            raise self.refuses
        self.rows.update({(each.event_id, each.task): each for each in outcomes})
