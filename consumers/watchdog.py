"""Tells when a process has stopped getting anywhere, so that it ends and the supervisor starts it anew."""

from collections.abc import Iterable
from dataclasses import dataclass

from adapters.clock import Clock
from consumers.ledger import Place

LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Standing:
    """One partition as the ledger sees it; `position` is what would be committed."""

    place: Place
    position: int | None
    in_flight: int


class Watchdog:
    """Progress is a position that moves, a commit, a probe of a parked lane, or a look at the brake.

    An event that hangs while its neighbours finish holds its partition's position, so each partition is watched.
    """

    def __init__(self, clock: Clock, *, limit_s: float = LIMIT_S) -> None:
        self._clock, self._limit_s = clock, limit_s
        now = clock.monotonic()
        self._touched = now
        self._moved: dict[Place, tuple[int | None, float]] = {}
        self._any_moved = now
        self._assigned_at = now

    def touch(self) -> None:
        """Something outside the ledger shows that the lane is alive."""
        self._touched = self._clock.monotonic()

    def age_s(self) -> float:
        """Seconds since the last progress of any kind."""
        return self._clock.monotonic() - max(self._touched, self._any_moved)

    def see(self, standings: Iterable[Standing], *, lag: int, assigned: int) -> str:
        """Why the process should end; empty while all is well. `assigned` counts the partitions it holds."""
        now = self._clock.monotonic()
        stuck = self._stuck(list(standings), now)
        if stuck:
            return stuck
        if lag <= 0:
            self._any_moved = now
        elif now - max(self._any_moved, self._touched) > self._limit_s:
            return f"{lag} events wait and none has come through for {self._limit_s:.0f} s"
        if assigned:
            self._assigned_at = now
        elif now - max(self._assigned_at, self._touched) > self._limit_s:
            return f"no partition is assigned for {self._limit_s:.0f} s"
        return ""

    def _stuck(self, standings: list[Standing], now: float) -> str:
        known, self._moved = self._moved, {}
        for each in standings:
            position, since = known.get(each.place, (None, now))
            if each.position != position:
                self._any_moved = since = now
            elif each.in_flight == 0:
                since = now
            self._moved[each.place] = (each.position, since)
            if now - max(since, self._touched) > self._limit_s:
                return f"{each.in_flight} events of {each.place[0]}-{each.place[1]} are stuck at {each.position}"
        return ""
