"""An event as it comes off the log, before and after it is read; nothing here knows which client fetched it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from schemas import envelope as cloud_events
from schemas.envelope import Envelope
from schemas.events import Base, Origin

Headers = Sequence[tuple[str, bytes]]
ATTEMPT = "attempt"
FIRST_SEEN = "firstseen"


class Arrival(Protocol):
    """One record of the log, unread: `timestamp` is the broker's, in seconds since the epoch."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def timestamp(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Delivery:
    """A record that could be read; `attempt` is 1 at first, and one more after each replay from the dead letters."""

    origin: Origin
    key: bytes
    headers: Headers
    value: bytes
    envelope: Envelope
    event: Base
    timestamp: float
    attempt: int


def origin(arrival: Arrival) -> Origin:
    """Where the record lies."""
    return Origin(topic=arrival.topic, partition=arrival.partition, offset=arrival.offset)


def read(arrival: Arrival, accepted: Sequence[type[Base]]) -> Delivery:
    """The record as one of the `accepted` events; raises Unprocessable with a reason that quotes no data."""
    value = arrival.value or b""
    envelope, event = cloud_events.read_any(arrival.headers, value, accepted)
    return Delivery(
        origin=origin(arrival),
        key=arrival.key or b"",
        headers=arrival.headers,
        value=value,
        envelope=envelope,
        event=event,
        timestamp=arrival.timestamp,
        attempt=attempt(envelope.extensions.get(ATTEMPT, "")),
    )


def attempt(text: str) -> int:
    """The number of the attempt as its header says; 1 when that is absent or nonsense."""
    return int(text) if text.isdecimal() and 0 < int(text) < 1_000_000 else 1


def header(headers: Headers, name: str) -> str:
    """The last header of that name as text; empty when there is none or it is not UTF-8."""
    for found, value in reversed(headers):
        if found == name:
            try:
                return value.decode()
            except UnicodeDecodeError:
                return ""
    return ""


def _of(delivery: Delivery, name: str) -> object:
    """A field of the event, or of the answer that a result carries."""
    event = delivery.event
    return getattr(event, name, None) or getattr(getattr(event, "answer", None), name, None)


def event_id(arrival: Arrival, delivery: Delivery | None) -> UUID | None:
    """Which accepted event a record belongs to; None when nothing readable says so."""
    if delivery is not None:
        known = _of(delivery, "event_id")
        if isinstance(known, UUID):
            return known
    try:
        return UUID(header(arrival.headers, "ce_id"))
    except ValueError:
        return None


def observed(arrival: Arrival, delivery: Delivery | None) -> Origin:
    """Where the event entered the log: named by the event itself on later topics, else the record's own place."""
    if delivery is not None:
        known = _of(delivery, "observed")
        if isinstance(known, Origin):
            return known
    return origin(arrival)
