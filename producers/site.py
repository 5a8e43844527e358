"""What all routes of wearers' apps share: who may, what is kept, and how an event of a wearer gets onto the log."""

from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from adapters import telemetry
from adapters.clock import Clock
from adapters.database.shelf import Shelves, Uploaded
from adapters.kafka import Message
from producers import cgm
from producers.aside import put_aside
from producers.door import Door
from producers.pending import Pending
from producers.replies import JSON, Early, take
from producers.wearer_access import Access
from schemas import topics
from schemas.errors import DatabaseUnavailable
from schemas.events import GlucoseObserved

T = TypeVar("T")
MAX_READINGS = 10_000
LANES = {topic: lane for lane, topic in topics.OBSERVED_GLUCOSE.items()}


@dataclass(frozen=True, slots=True)
class Site:
    """The place that apps of wearers connect to."""

    door: Door
    clock: Clock
    access: Access
    shelf: Shelves
    pending: Pending

    async def put(self, subject: str, taken: Sequence[tuple[GlucoseObserved, Message]]) -> None:
        """Makes a wearer's readings durable, each once."""
        messages = {event.event_id: message for event, message in taken}
        await take(self.door, list(messages.values()))
        self.noted(subject, taken)

    async def put_with_refused(
        self,
        subject: str,
        taken: Sequence[tuple[GlucoseObserved, Message]],
        refused: Sequence[tuple[Any, str]],
        now: datetime,
        sender: str,
    ) -> None:
        """As `put`, and puts refused items aside with their reasons: their uploader does not read them."""
        if not refused:
            await self.put(subject, taken)
            return
        messages = {event.event_id: message for event, message in taken}
        message, blob = put_aside(
            msgspec.json.encode([item for item, _ in refused]),
            door="door-http",
            sender=sender,
            media_type=JSON,
            error_class="RefusedEntries",
            reason=f"{len(refused)} refused, the first because: {refused[0][1]}",
            now=now,
        )
        await take(self.door, [*messages.values(), message], blob)
        telemetry.metrics().dead_letters.labels(lane="door-http", kind="unprocessable").inc()
        self.noted(subject, taken)

    def noted(self, subject: str, taken: Sequence[tuple[GlucoseObserved, Message]]) -> None:
        """Counts what is on the log, and remembers it until it is recorded."""
        messages = {event.event_id: message for event, message in taken}
        for topic, number in Counter(message.topic for message in messages.values()).items():
            count(LANES[topic], number)
        shown = (event for event, _ in taken if not event.simulated)
        self.pending.note(subject, {event.event_id: cgm.time_ms(event) for event in shown})

    async def kept(self, work: Awaitable[T]) -> T:
        """What the shelf answers; ends the request with "try again" while it is away."""
        try:
            return await work
        except DatabaseUnavailable as away:
            raise Early(503, str(away)) from away

    async def settled(self, subject: str) -> None:
        """Waits a little for what this wearer's apps have just sent."""
        await self.kept(self.pending.settle(subject, self.shelf))

    async def at(self, subject: str, time_ms: int) -> list[Uploaded]:
        """All that was said of a sensor time, the latest at the end."""
        await self.settled(subject)
        return await self.kept(self.shelf.contents_at(subject, [time_ms]))


def count(fate: str, number: int = 1) -> None:
    """Counts readings by their fate."""
    telemetry.metrics().glucose_entries.labels(fate=fate).inc(number)


def known(site: Site, subject: str, rows: Iterable[Uploaded], event_id: UUID) -> bool:
    """Whether an event was taken before, recorded or not yet."""
    return any(row.event_id == event_id for row in rows) or site.pending.holds(subject, event_id)
