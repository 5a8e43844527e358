"""How often a client may ask: a bucket of tokens each, refilled evenly, and the oldest forgotten; nothing is kept."""

from collections import OrderedDict
from collections.abc import Hashable

from adapters.clock import Clock

CLIENTS = 20_000


class Rates:
    """`a_minute` requests a client in the long run, and `burst` of them at once."""

    def __init__(self, clock: Clock, *, a_minute: float, burst: int) -> None:
        self._clock, self._a_second, self._burst = clock, a_minute / 60.0, float(burst)
        self._buckets: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def wait_s(self, client: Hashable, cost: float = 1.0) -> float:
        """Takes `cost` tokens and returns 0, or leaves them and returns the seconds until there are enough.

        A cost above the burst waits for a full bucket.
        """
        now = self._clock.monotonic()
        tokens, since = self._buckets.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._a_second)
        need = min(cost, self._burst)
        missing = need - tokens
        self._buckets[client] = (tokens if missing > 0 else tokens - need, now)
        while len(self._buckets) > CLIENTS:
            self._buckets.popitem(last=False)
        return max(0.0, missing / self._a_second)
