"""How often each client may ask: a bucket that refills steadily and holds ten seconds' worth; nobody waits here."""

import math
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from adapters.clock import Clock

HELD_S = 10.0
CLIENTS = 100_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class ClientLimits:
    """`per_s` requests a second for each client, in bursts of ten seconds' worth; 0: no limit."""

    def __init__(self, clock: Clock, per_s: float) -> None:
        self._clock = clock
        self._per_s = per_s
        self._buckets: OrderedDict[Hashable, _Bucket] = OrderedDict()

    def wait_s(self, client: Hashable) -> int:
        """0 when the client may ask now, else the whole seconds after which it may."""
        if not self._per_s:
            return 0
        now, most = self._clock.monotonic(), max(self._per_s * HELD_S, 1.0)
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(most, now)
            if len(self._buckets) > CLIENTS:
                self._buckets.popitem(last=False)
        bucket.tokens = min(most, bucket.tokens + (now - bucket.at) * self._per_s)
        bucket.at = now
        if bucket.tokens < 1:
            return math.ceil((1 - bucket.tokens) / self._per_s)
        bucket.tokens -= 1
        return 0
