"""The brake: when most events fail, the lane stops before a bad release has pushed everything aside.

The state is a small file, so that a restart stays braked and `clinstream resume LANE` works from outside.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

from adapters import telemetry
from adapters.clock import Clock

WINDOW = 100
AT_LEAST = 20
LOOK_EVERY_S = 1.0

log = telemetry.logger("brake")


def folder(home: Path) -> Path:
    """Where the files of braked lanes lie, one named as each lane."""
    return home / "run" / "braked"


def braked_lanes(home: Path) -> list[str]:
    """The lanes that are braked now."""
    place = folder(home)
    return sorted(path.name for path in place.iterdir() if path.is_file()) if place.is_dir() else []


def release(home: Path, lane: str) -> bool:
    """Lets a lane go on; False when it was not braked."""
    try:
        (folder(home) / lane).unlink()
    except FileNotFoundError:
        return False
    return True


class Brake:
    """Counts the last 100 events of a lane; at least 20 failed ones that are more than half of them engage it."""

    def __init__(self, lane: str, home: Path, clock: Clock, on_look: Callable[[], None]) -> None:
        self._lane, self._clock, self._on_look = lane, clock, on_look
        self._file = folder(home) / lane
        self._window: deque[bool] = deque(maxlen=WINDOW)
        self._changed = asyncio.Event()
        self.engaged = self._file.exists()
        self._export()

    def note(self, failed: Iterable[bool]) -> bool:
        """Counts events in their order; whether the lane is braked now."""
        self._window.extend(failed)
        failures = sum(self._window)
        if not self.engaged and failures >= AT_LEAST and failures > len(self._window) / 2:
            self._engage(failures)
        return self.engaged

    def _engage(self, failures: int) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        state = {"since": self._clock.now().isoformat(), "failed": failures, "of": len(self._window)}
        self._file.write_text(json.dumps(state))
        self.engaged = True
        self._export()
        log.error("braked", lane=self._lane, failed=failures, of=len(self._window), resume="clinstream resume")

    def look(self) -> None:
        """Follows the file: another process of the lane may have engaged it, a person may have released it."""
        if self.engaged:
            self._on_look()  # a braked lane stands still on purpose; any other must not hide behind these looks
        there = self._file.exists()
        if there != self.engaged:
            self.engaged = there
            self._window.clear()
            self._export()
            log.warning("braked by another process" if there else "released", lane=self._lane)
        self._changed.set()

    async def watch(self) -> None:
        """Looks each second, for ever."""
        while True:
            await self._clock.sleep(LOOK_EVERY_S)
            self.look()

    async def released(self) -> None:
        """Returns when the lane is not braked."""
        while self.engaged:
            self._changed.clear()
            await self._changed.wait()

    def _export(self) -> None:
        telemetry.metrics().braked.labels(lane=self._lane).set(int(self.engaged))
