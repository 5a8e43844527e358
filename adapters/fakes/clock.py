"""A clock that stands still until a test moves it; nothing here waits for real time."""

import asyncio
import heapq
from datetime import UTC, datetime
from itertools import count


class FakeClock:
    """Starts at `start` (seconds since the epoch); `advance` wakes the sleepers whose time has come, in order."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._time = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._ticket = count()

    def now(self) -> datetime:
        """The time of day that was set, in UTC."""
        return datetime.fromtimestamp(self._time, UTC)

    def time(self) -> float:
        """Seconds since the epoch."""
        return self._time

    def monotonic(self) -> float:
        """The same seconds: this clock only goes forward."""
        return self._time

    async def sleep(self, seconds: float) -> None:
        """Waits until `advance` has passed `seconds`; zero or less only yields."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._time + seconds, next(self._ticket), waiter))
        await waiter

    @property
    def sleepers(self) -> int:
        """How many are waiting."""
        return sum(not waiter.done() for _, _, waiter in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Moves the time forward; whoever wakes runs at the time it asked for, also when it sleeps again."""
        target = self._time + seconds
        await _settle()
        while self._sleepers and self._sleepers[0][0] <= target:
            due, _, waiter = heapq.heappop(self._sleepers)
            self._time = max(self._time, due)
            if not waiter.done():
                waiter.set_result(None)
            await _settle()
        self._time = target


async def _settle() -> None:
    # A woken task needs a few turns of the event loop to reach its next sleep; ten cover every chain of ours.
    for _ in range(10):
        await asyncio.sleep(0)
