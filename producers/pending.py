"""Readings that this process put onto the log a moment ago and that nobody may have recorded yet; a short memory."""

from collections import OrderedDict
from collections.abc import Iterable
from uuid import UUID

from adapters.clock import Clock
from adapters.database.shelf import Shelves

WEARERS = 20_000
READINGS = 300
LOOK_S = 0.1

Taken = dict[UUID, int]
"""Sensor time in milliseconds by event."""


class Pending:
    """So that a wearer's own read right after a post finds the reading: it waits for it, at most `hold_s`."""

    def __init__(self, clock: Clock, hold_s: float) -> None:
        self._clock = clock
        self._hold_s = hold_s
        self._taken: OrderedDict[str, tuple[float, Taken]] = OrderedDict()

    def note(self, subject: str, taken: Taken) -> None:
        """These readings of a wearer are on the log."""
        if not taken:
            return
        before = self._fresh(subject)
        kept = {**before, **taken}
        if len(kept) > READINGS:
            kept = dict(list(kept.items())[-READINGS:])
        self._taken[subject] = self._clock.monotonic(), kept
        self._taken.move_to_end(subject)
        if len(self._taken) > WEARERS:
            self._taken.popitem(last=False)

    def holds(self, subject: str, event_id: UUID) -> bool:
        """Whether this event was put onto the log a moment ago."""
        return event_id in self._fresh(subject)

    async def settle(self, subject: str, shelf: Shelves) -> None:
        """Returns once what was put onto the log is recorded, or `hold_s` after it was; raises DatabaseUnavailable."""
        while waiting := self._fresh(subject):
            found = await shelf.contents_at(subject, sorted(set(waiting.values())))
            self._forget(subject, (row.event_id for row in found))
            if not self._fresh(subject):
                return
            await self._clock.sleep(LOOK_S)

    def _fresh(self, subject: str) -> Taken:
        at, taken = self._taken.get(subject, (0.0, {}))
        if taken and self._clock.monotonic() - at >= self._hold_s:
            del self._taken[subject]
            return {}
        return taken

    def _forget(self, subject: str, recorded: Iterable[UUID]) -> None:
        at, taken = self._taken.get(subject, (0.0, {}))
        gone = set(recorded)
        left = {event: time for event, time in taken.items() if event not in gone}
        if left:
            self._taken[subject] = at, left
        else:
            self._taken.pop(subject, None)
