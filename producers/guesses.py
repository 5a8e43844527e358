"""Failed attempts to get in, by address: each costs the address a longer wait; whoever knows a secret never waits."""

from collections import OrderedDict
from dataclasses import dataclass

from adapters.clock import Clock

FIRST_S, MOST_S = 0.25, 8.0
FORGET_S = 300.0
WAITING = 4
ADDRESSES = 10_000


@dataclass(slots=True)
class _Address:
    failures: int = 0
    last: float = 0.0
    waiting: int = 0


class Guesses:
    """The wait after a failed attempt doubles from 0.25 s to 8 s for its address, and is forgotten after 5 minutes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._addresses: OrderedDict[str, _Address] = OrderedDict()

    async def slow(self, address: str) -> bool:
        """Waits as long as this failure costs; False at once when too many of the address wait already."""
        known = self._addresses.setdefault(address, _Address())
        self._addresses.move_to_end(address)
        while len(self._addresses) > ADDRESSES:
            self._addresses.popitem(last=False)
        now = self._clock.monotonic()
        if now - known.last > FORGET_S:
            known.failures = 0
        known.failures += 1
        known.last = now
        if known.waiting >= WAITING:
            return False
        known.waiting += 1
        try:
            await self._clock.sleep(min(FIRST_S * 2 ** min(known.failures - 1, 10), MOST_S))
        finally:
            known.waiting -= 1
        return True
