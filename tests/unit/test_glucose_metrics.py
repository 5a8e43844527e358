"""Glycaemic metrics beside the lanes: they rest as long as they should, and wait while something is away."""

import asyncio
import contextlib
from typing import Any

from adapters.database import Recomputed
from adapters.fakes.clock import FakeClock
from adapters.fakes.publisher import FakePublisher
from consumers import glucose_metrics
from consumers.glucose_metrics import GlucoseMetrics
from schemas.errors import DatabaseUnavailable

WORKS_S = 0.5


class Views:
    """A round takes half a second; `away` makes it fail."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.rounds, self.away = clock, list[float](), False

    async def recompute(self, *_: Any, **__: Any) -> Recomputed:
        self.rounds.append(self.clock.monotonic())
        if self.away:
            raise DatabaseUnavailable("away")
        await self.clock.sleep(WORKS_S)
        return Recomputed(wearers=1, days=1)

    async def publish(self, *_: Any, **__: Any) -> int:
        return 0

    async def oldest(self) -> None:
        return None


async def pauses(load: float, *, away: bool = False) -> list[float]:
    """Seconds from round to round."""
    clock = FakeClock()
    views: Any = Views(clock)
    views.away = away
    work = GlucoseMetrics(views, FakePublisher(), clock, every_s=60.0, load=lambda: load)
    running = asyncio.ensure_future(work.run())
    while len(views.rounds) < 4:
        await asyncio.sleep(0)
        await clock.advance(0.1)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return [round(after - before, 1) for before, after in zip(views.rounds, views.rounds[1:], strict=False)]


async def test_a_busy_machine_is_given_to_others() -> None:
    """Metrics may be late; forecasts may not."""
    light, heavy = await pauses(0.1), await pauses(3.0)
    assert min(light) >= WORKS_S * (1 + glucose_metrics.REST)
    assert min(heavy) >= WORKS_S * (1 + glucose_metrics.BUSY_REST)
    assert max(light) < min(heavy)


async def test_rounds_wait_while_the_database_is_away_and_go_on() -> None:
    assert min(await pauses(0.1, away=True)) >= glucose_metrics.AWAY_S
