"""Waiting for what is away: the lane stops pulling, keeps what is in flight, tries each second and goes on.

An outage is nobody's fault, so nothing here ever gives up on an event. `pause_partitions` is not used: Faust forgets
it at every rebalance, while the bound on work in flight holds by itself.
"""

import asyncio
from collections.abc import Callable

from adapters import telemetry
from adapters.clock import Clock
from schemas.errors import (
    BrokerUnavailable,
    DatabaseUnavailable,
    Overloaded,
    ServerDown,
    StoreUnavailable,
    Unavailable,
)

PROBE_EVERY_S = 1.0
BACK_OFF_FIRST_S = 0.1
BACK_OFF_MOST_S = 5.0
REASONS: tuple[tuple[type[Unavailable], str], ...] = (
    (BrokerUnavailable, "broker"),
    (DatabaseUnavailable, "database"),
    (StoreUnavailable, "store"),
    (ServerDown, "triton"),
    (Overloaded, "overloaded"),
)

log = telemetry.logger("parking")


def reason_of(error: Unavailable) -> str:
    """What is away, in one word for a metric's label."""
    return next((name for kind, name in REASONS if isinstance(error, kind)), "unknown")


def back_off(tries: int, random: Callable[[], float]) -> float:
    """Seconds to wait after the `tries`-th refusal: doubling from 0.1 s to 5 s, spread over half to whole of it."""
    whole = min(BACK_OFF_MOST_S, BACK_OFF_FIRST_S * 2.0 ** min(tries - 1, 10))
    return whole * (0.5 + 0.5 * random())


class Parking:
    """The parked state of one lane. `wait` returns when its caller should try again.

    Only one of the waiting batches tries, each second, and is thereby the probe; the others go on when it succeeds.
    `on_probe` is told of each try, since a lane that probes is alive.
    """

    def __init__(self, lane: str, clock: Clock, on_probe: Callable[[], None]) -> None:
        self._lane, self._clock, self._on_probe = lane, clock, on_probe
        self._changed = asyncio.Event()
        self._prober: object | None = None
        self.reason = ""
        self.since = 0.0

    @property
    def parked(self) -> bool:
        """Whether the lane waits for something that is away."""
        return bool(self.reason)

    async def wait(self, me: object, reason: str) -> None:
        """Parks the lane for `reason` and waits for `me`'s turn to try."""
        self.park(reason)
        while self.parked and self._prober not in (None, me):
            self._changed.clear()
            await self._changed.wait()
        if self.parked:
            self._prober = me
            await self._clock.sleep(PROBE_EVERY_S)
            self._on_probe()

    def park(self, reason: str) -> None:
        """Parks the lane, or keeps it parked for another reason."""
        if reason == self.reason:
            return
        if self.reason:
            self._export(0)
        else:
            self.since = self._clock.time()
            log.warning("parked", lane=self._lane, reason=reason)
        self.reason = reason
        self._export(1)

    def over(self, me: object, *, well: bool = True) -> None:
        """`me` stops waiting: when it probed and all went well the lane goes on, else another one probes."""
        if self._prober is not me:
            return
        self._prober = None
        if well:
            self.resume()
        self._changed.set()

    def resume(self) -> None:
        """The lane goes on, whoever waits."""
        if self.reason:
            log.info("resumed", lane=self._lane, reason=self.reason, after_s=round(self._clock.time() - self.since, 1))
            self._export(0)
            self.reason = ""
        self._changed.set()

    async def passable(self) -> None:
        """Returns when the lane is not parked."""
        while self.parked:
            self._changed.clear()
            await self._changed.wait()

    def _export(self, value: int) -> None:
        telemetry.metrics().parked.labels(lane=self._lane, reason=self.reason).set(value)
