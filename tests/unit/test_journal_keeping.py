"""The age of the doors' journal: all that is too old goes, and an hour later again; the SQL has tests of its own."""

import asyncio
from datetime import timedelta

from adapters.fakes.clock import FakeClock
from consumers import journal_keeping
from consumers.journal_keeping import JournalKeeping
from schemas.errors import DatabaseUnavailable


class Entries:
    """So many old entries, two of which go at a time."""

    def __init__(self, old: int) -> None:
        self.old, self.away = old, False
        self.ages: set[timedelta] = set()

    async def prune_journal(self, age: timedelta) -> int:
        if self.away:
            raise DatabaseUnavailable("away")
        self.ages.add(age)
        gone = min(2, self.old)
        self.old -= gone
        return gone


async def test_all_that_is_too_old_goes_every_hour_and_a_database_that_is_away_is_waited_for() -> None:
    """CC28: the loop goes on whatever happens."""
    entries, clock = Entries(5), FakeClock()
    running = asyncio.ensure_future(JournalKeeping(entries, 30, clock).run())
    await clock.advance(1)
    assert entries.old == 0
    assert entries.ages == {timedelta(days=30)}
    entries.old, entries.away = 3, True
    await clock.advance(journal_keeping.EACH_S)
    assert entries.old == 3
    entries.away = False
    await clock.advance(journal_keeping.AWAY_S)
    assert entries.old == 0
    running.cancel()
