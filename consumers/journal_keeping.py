"""The doors' journal does not grow for ever: entries older than the setting says go, the oldest first."""

from datetime import timedelta
from typing import Protocol

from adapters import telemetry
from adapters.clock import Clock
from schemas.errors import Unavailable

log = telemetry.logger("door.journal")

EACH_S = 3600.0
AWAY_S = 10.0


class Entries(Protocol):
    """The part of the database that keeps the journal."""

    async def prune_journal(self, age: timedelta) -> int:
        """Deletes some of the entries older than that, the oldest first, and returns how many; 0: none is left."""
        ...


class JournalKeeping:
    """Several may run: what is gone is gone."""

    def __init__(self, entries: Entries, days: int, clock: Clock) -> None:
        self._entries, self._age, self._clock = entries, timedelta(days=days), clock

    async def once(self) -> int:
        """Deletes all that is too old, some at a time so that no door waits; raises Unavailable."""
        total = 0
        while gone := await self._entries.prune_journal(self._age):
            total += gone
        if total:
            log.info("old entries of the journal are gone", count=total)
        return total

    async def run(self) -> None:
        """Once an hour for ever; waits while the database is away. Ends by cancellation."""
        while True:
            try:
                await self.once()
            except Unavailable as error:
                log.warning("the journal keeps its old entries for now", reason=type(error).__name__)
                await self._clock.sleep(AWAY_S)
            else:
                await self._clock.sleep(EACH_S)
