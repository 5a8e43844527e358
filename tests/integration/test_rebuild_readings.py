"""`clinstream rebuild` and glucose readings: the same rows, revisions and windows as before, from a real log."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from adapters.clock import SystemClock
from adapters.database import Database, Window
from adapters.fakes.windows import FakeWindows
from consumers.outcomes import Decide
from schemas.events import GlucoseObserved
from tests.support import log
from tests.support.answers import outcome
from tests.support.glucose import NOW, TASK, Around, expected, reading
from tests.support.installation import Installation

READINGS = (
    "SELECT subject_id, simulated, measured_at, content, revision, event_id, glucose_mg_dl, raw_value, raw_unit, "
    "clipped, trend, device, observed_at FROM readings ORDER BY 1, 2, 3, 5"
)
WEARER = (reading().subject_id, False)
Lane = Literal["live", "backfill"]


@asynccontextmanager
async def lanes(installation: Installation) -> AsyncIterator[Around]:
    """The lanes over the installation's database."""
    database = Database.open(installation.settings, SystemClock())
    try:
        yield Around(ledger=database)  # type: ignore[arg-type]
    finally:
        await database.close()


async def observe(installation: Installation, around: Around, *events: GlucoseObserved, lane: Lane = "live") -> None:
    """A batch onto the log, through its lane, and its outcomes onto the log."""
    await log.put(installation.settings, [log.glucose(event, lane) for event in events])
    found = await around.run(*events, lane=lane)
    decided = [o.outcome for each in found for o in each if isinstance(o, Decide)]
    decided += [
        outcome(event.event_id, "answered", TASK, object_id=event.object_id, content=event.content)
        for event, each in zip(events, found, strict=True)
        if each and not isinstance(each[0], Decide)
    ]
    await log.put(installation.settings, [log.decided(each) for each in decided])


async def history(installation: Installation) -> None:
    """Readings of both lanes with corrections, a repeat, an injected one, one from the future, one still ahead."""
    async with lanes(installation) as around:
        await observe(installation, around, reading(-10), reading(-5), reading(0), reading(-5, wearer="2"))
        await observe(installation, around, reading(0, 120.0), reading(-5, 90.0), reading(0, simulated=True))
        await observe(installation, around, reading(-10), reading(-5))
        late = [reading(-7, 80.0, observed_at=NOW), reading(-10, 70.0, observed_at=NOW)]
        await observe(installation, around, *late, lane="backfill")
        await observe(installation, around, reading(99, observed_at=NOW))
        await log.put(installation.settings, [log.glucose(reading(4))])


async def window(installation: Installation) -> Window:
    async with lanes(installation) as around:
        return (await around.ledger.windows([WEARER]))[WEARER]


def test_dropped_readings_come_back_with_their_revisions_and_windows(installation: Installation) -> None:
    """Delivery rule 13, GL5."""
    asyncio.run(history(installation))
    before, seen = installation.sql(READINGS), asyncio.run(window(installation))
    assert len(before) == 9
    installation.sql("DROP TABLE readings, glucose_windows")
    found = installation.command("rebuild", "--json")
    assert found.exit_code == 0, found.output
    assert installation.sql(READINGS) == before
    after = asyncio.run(window(installation))
    assert (after.times_ms, after.glucose_mg_dl) == (seen.times_ms, seen.glucose_mg_dl)
    assert after.stamp != seen.stamp, "a window cached before would pass for the present one"
    assert installation.command("rebuild", "--only-log").exit_code == 0
    assert installation.sql(READINGS) == before


def test_a_lane_goes_on_after_a_rebuild_with_a_cache_of_before(installation: Installation) -> None:
    async def work() -> tuple[float, float]:
        async with lanes(installation) as around:
            await observe(installation, around, reading(-10), reading(-5), reading(0))
            old = dict(around.windows.kept)
            await observe(installation, around, reading(1, 110.0))
            await asyncio.to_thread(installation.command, "rebuild")
            around.windows = FakeWindows()
            around.windows.kept = old
            (found,) = await around.run(reading(2, 120.0))
            (again,) = await around.run(reading(3, 130.0))
            return expected(found), expected(again)

    assert asyncio.run(work()) == (530.0, 660.0)
