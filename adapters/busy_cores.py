"""How much of the processor time that this process may have is in use: of its cores, and of its control groups' quotas.

A container sees the whole machine's `/proc/stat`, of which it may be allowed a small part. What is done about it is
decided elsewhere.
"""

import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

IDLE_COLUMNS: Final = (3, 4)
"""Of a line of /proc/stat: idle, and waiting for a disk."""
COUNTED_COLUMNS: Final = 8
"""Guests' time, which follows, is part of the columns before."""
V2_CONTROLLER: Final = ""


@dataclass(frozen=True, slots=True)
class _Group:
    """A control group: `limits` holds its quota and `usage` what it used, one folder in version 2."""

    limits: Path
    usage: Path
    second: bool

    def quota(self) -> float | None:
        """Cores that it may use on average; None without a quota, or where that cannot be read."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            if self.second:
                quota, period = (self.limits / "cpu.max").read_text().split()
            else:
                quota, period = ((self.limits / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
            if quota.strip() not in ("max", "-1"):
                return int(quota) / int(period)
        return None

    def used_s(self) -> float:
        """Processor time since it was made, in seconds; raises OSError or ValueError where that cannot be read."""
        if not self.second:
            return int((self.usage / "cpuacct.usage").read_text()) / 1e9
        lines = (line.split() for line in (self.usage / "cpu.stat").read_text().splitlines())
        return next(int(value) for name, value in lines if name == "usage_usec") / 1e6


class BusyCores:
    """Asked again and again; each answer is about the time since the one before."""

    def __init__(
        self,
        root: Path = Path("/"),
        cores: Callable[[], Collection[int]] = lambda: os.sched_getaffinity(0),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root, self._cores, self._clock = root, cores, clock
        self._before: dict[str, tuple[float, float]] = {}

    def share(self) -> float:
        """0 to 1: the larger of what all processes used of the cores that we may run on, and what our control group
        (or one above it) used of its quota. The first answer, and one about nothing that can be read, is 0.

        Both count: a quota is no reservation, and containers beside ours are in groups of their own.
        """
        now, found = self._clock(), [0.0]
        before, self._before = self._before, {}
        with contextlib.suppress(OSError, ValueError, IndexError):
            busy, total = self._of_the_machine()
            found.append(self._since(before, "cores", busy, total))
        for group in _groups(self._root):
            quota = group.quota()
            if quota:
                with contextlib.suppress(OSError, ValueError, StopIteration):
                    used = group.used_s() / quota
                    found.append(self._since(before, str(group.usage), used, now))
        return min(1.0, max(found))

    def _since(self, before: dict[str, tuple[float, float]], name: str, used: float, total: float) -> float:
        """The share of what passed; notes where it stands now."""
        self._before[name] = used, total
        used_before, total_before = before.get(name, (used, total))
        return (used - used_before) / (total - total_before) if total > total_before else 0.0

    def _of_the_machine(self) -> tuple[float, float]:
        """Ticks in which our cores worked, and all."""
        names = {f"cpu{number}" for number in self._cores()}
        busy = total = 0
        for line in (self._root / "proc/stat").read_text().splitlines():
            name, *columns = line.split() or [""]
            if name in names:
                ticks = [int(each) for each in columns[:COUNTED_COLUMNS]]
                total += sum(ticks)
                busy += sum(ticks) - sum(ticks[place] for place in IDLE_COLUMNS)
        return busy, total


def _groups(root: Path) -> Iterator[_Group]:
    """Our control group and those above it that can be seen, version 2 or 1."""
    try:
        ours = dict(_memberships((root / "proc/self/cgroup").read_text()))
        mounts = dict(_mounts((root / "proc/self/mountinfo").read_text()))
    except (OSError, ValueError):
        return
    if V2_CONTROLLER in ours and V2_CONTROLLER in mounts:
        for folder in _upwards(root, mounts[V2_CONTROLLER], ours[V2_CONTROLLER]):
            yield _Group(folder, folder, second=True)
    # Where the two controllers of version 1 group processes differently, nobody knows what the limited group used.
    if "cpu" in mounts and "cpuacct" in mounts and "cpu" in ours and ours["cpu"] == ours.get("cpuacct"):
        limits = _upwards(root, mounts["cpu"], ours["cpu"])
        for limit, usage in zip(limits, _upwards(root, mounts["cpuacct"], ours["cpuacct"]), strict=False):
            yield _Group(limit, usage, second=False)


def _memberships(text: str) -> Iterator[tuple[str, str]]:
    """(controller, path of our group) of /proc/self/cgroup; version 2 has no controller's name."""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            yield controller, path


def _mounts(text: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """(controller, (path of the group that is mounted, where)) of /proc/self/mountinfo."""
    for line in text.splitlines():
        ours, _, theirs = line.partition(" - ")
        mounted, place = ours.split()[3:5]
        kind, _, options = theirs.split(" ", 2)
        if kind == "cgroup2":
            yield V2_CONTROLLER, (mounted, place)
        elif kind == "cgroup":
            for controller in options.split(","):
                yield controller, (mounted, place)


def _upwards(root: Path, mount: tuple[str, str], path: str) -> Iterator[Path]:
    """The folder of a group and those above it, as far as they are mounted."""
    mounted, place = mount
    try:
        below = PurePosixPath(path).relative_to(mounted)
    except ValueError:  # a group that is not to be seen from here, such as /../other
        return
    at = root / place.lstrip("/")
    yield from (at / each for each in (below, *below.parents))
