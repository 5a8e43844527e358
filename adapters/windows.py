"""Redis as a cache of wearers' windows: it may be empty, behind or away; whether a window is true, the database says.

One value a wearer: the stamp (16 bytes), how many numbers the wearer's vector has and how many letters the version of
the model that it was fitted to (1 byte each), these two (float32, ASCII), then the times (int64 milliseconds) and the
values (float32 mg/dL), both oldest first; all little-endian.
"""

import struct
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Protocol
from uuid import UUID

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from adapters import telemetry
from adapters.clock import Clock
from adapters.database import Own, Wearer, Window
from adapters.database.records import NOTHING_OWN

# The number is that of the layout: what an earlier release left is not found.
PREFIX = "clinstream:window3:"
STAMP_BYTES = 16
# A wearer who sends nothing for a day is read from the database once when readings come again.
KEEP_S = 24 * 3600
TIMEOUT_S = 0.5
# After a failure nobody asks for this long: a server that hangs would otherwise cost each batch its timeout.
REST_S = 2.0
# One answer instead of one a key, which would cost the lane more than all else that it does with Redis.
PUT = "for i, name in ipairs(KEYS) do redis.call('SET', name, ARGV[i + 1], 'EX', ARGV[1]) end"

log = telemetry.logger("windows")


class WindowCache(Protocol):
    """Where windows may be found faster than in the database; no call ever raises for a server that is away."""

    async def get(self, wearers: Sequence[Wearer]) -> dict[Wearer, Window] | None:
        """The windows that are there, perhaps old ones; None when the cache is away."""
        ...

    async def put(self, windows: Mapping[Wearer, Window]) -> None:
        """Keeps windows that are committed."""
        ...

    async def clear(self) -> bool:
        """Forgets all windows; whether it was there to do so."""
        ...

    async def close(self) -> None:
        """Ends the connections."""
        ...


class RedisWindows:
    """The cache in Redis (`redis://` or `rediss://`); connects at first use."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._clock = clock
        self._rests_until = 0.0
        self._redis = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
            client_name="clinstream",
        )

    async def get(self, wearers: Sequence[Wearer]) -> dict[Wearer, Window] | None:
        """See WindowCache.get."""
        if self._clock.monotonic() < self._rests_until:
            return None
        try:
            values = await self._redis.mget([key(wearer) for wearer in wearers])
        except (RedisError, OSError) as error:
            self._rest(error)
            return None
        pairs = zip(wearers, values, strict=True)
        windows = ((wearer, decode(value)) for wearer, value in pairs if isinstance(value, bytes))
        return {wearer: window for wearer, window in windows if window is not None}

    async def put(self, windows: Mapping[Wearer, Window]) -> None:
        """See WindowCache.put."""
        if not windows or self._clock.monotonic() < self._rests_until:
            return
        try:
            names, values = [key(wearer) for wearer in windows], [encode(window) for window in windows.values()]
            await self._redis.eval(PUT, len(names), *names, KEEP_S, *values)
        except (RedisError, OSError) as error:
            self._rest(error)

    async def clear(self) -> bool:
        """See WindowCache.clear."""
        try:
            found = [name async for name in self._redis.scan_iter(PREFIX + "*", count=1000)]
            for start in range(0, len(found), 1000):
                await self._redis.unlink(*found[start : start + 1000])
        except (RedisError, OSError):
            return False
        return True

    async def close(self) -> None:
        """See WindowCache.close."""
        await self._redis.aclose()

    def _rest(self, error: Exception) -> None:
        log.warning("windows come from the database for now", reason=type(error).__name__)
        self._rests_until = self._clock.monotonic() + REST_S


def key(wearer: Wearer) -> str:
    """The name of a wearer's window; pseudonymous."""
    return f"{PREFIX}{'simulated' if wearer[1] else 'clinical'}:{wearer[0]}"


def encode(window: Window) -> bytes:
    """The window as one value; it must have a stamp."""
    assert window.stamp is not None  # what has none is not in the database
    own, name = window.own, window.own.base_version.encode("ascii")
    layout = _layout(len(own.vector), len(name), len(window.times_ms))
    numbers = (*own.vector, name, *window.times_ms, *window.glucose_mg_dl)
    return window.stamp.bytes + layout.pack(len(own.vector), len(name), *numbers)


def decode(value: bytes) -> Window | None:
    """The window of a value; None for one that is not ours, which then counts as absent."""
    if len(value) <= STAMP_BYTES + 1:
        return None
    size, letters = value[STAMP_BYTES], value[STAMP_BYTES + 1]
    count, rest = divmod(len(value) - STAMP_BYTES - 2 - 4 * size - letters, 12)
    if count < 0 or rest:
        return None
    numbers = _layout(size, letters, count).unpack_from(value, STAMP_BYTES)[2:]
    own = Own(numbers[size].decode("ascii", "replace"), numbers[:size]) if size else NOTHING_OWN
    times, values = numbers[size + 1 : size + 1 + count], numbers[size + 1 + count :]
    return Window(UUID(bytes=value[:STAMP_BYTES]), times, values, own)


@cache
def _layout(size: int, letters: int, count: int) -> struct.Struct:
    return struct.Struct(f"<BB{size}f{letters}s{count}q{count}f")
