"""The watched folder: pictures that stopped growing are taken like uploads and moved; no HTTP is spoken here.

A file is moved only after the acknowledgement. A process that dies in between finds it again, and a repeat is the same
event, so nothing is lost and nothing happens twice.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

from adapters import telemetry
from adapters.clock import Clock
from producers import otoscope
from producers.door import Door
from schemas import ids
from schemas.errors import Unavailable, Unprocessable

log = telemetry.logger("door.folder")

SOURCE = "door-folder"
DONE, REFUSED = "done", "refused"
SUFFIXES = (".jpg", ".jpeg", ".png")
SCAN_S = 1.0

Size = tuple[int, int]
"""Bytes and time of the last change: a file that shows the same in two scans has stopped growing."""


class Folder:
    """One folder; `scan` looks once, `watch` for ever."""

    def __init__(self, root: Path, door: Door, key: bytes, clock: Clock) -> None:
        self._root = root
        self._door = door
        self._key = key
        self._clock = clock
        self._seen: dict[str, Size] = {}

    def prepare(self) -> None:
        """Makes the folder and those for what was taken and refused; raises OSError where that cannot be."""
        for name in (DONE, REFUSED):
            (self._root / name).mkdir(parents=True, exist_ok=True)

    async def watch(self, stop: asyncio.Event) -> None:
        """Scans every second until `stop`; the file at work is finished first."""
        stopped = asyncio.ensure_future(stop.wait())
        while not stop.is_set():
            try:
                await self.scan(stop)
            except OSError as error:
                log.warning("the folder cannot be read", reason=error.strerror)
            pause = asyncio.ensure_future(self._clock.sleep(SCAN_S))
            await asyncio.wait({stopped, pause}, return_when=asyncio.FIRST_COMPLETED)
            pause.cancel()
        stopped.cancel()

    async def scan(self, stop: asyncio.Event | None = None) -> None:
        """Takes what has not changed since the last scan; ends early when the door cannot take anything now."""
        now = dict(_pictures(self._root))
        ready = sorted(name for name, size in now.items() if self._seen.get(name) == size)
        self._seen = now
        for name in ready:
            if stop is not None and stop.is_set():
                return
            if not await self._take(self._root / name):
                return

    async def _take(self, path: Path) -> bool:
        """Takes or refuses one file; False where broker, store or disk is away."""
        start = time.monotonic()
        try:
            status = await self._settle(path)
        except Unavailable as error:
            log.warning("the folder waits", reason=str(error))
            status = "retry"
        except OSError as error:  # gone meanwhile, or not ours to read: its neighbours are taken all the same
            log.warning("a file of the folder cannot be taken", reason=error.strerror)
            status = "unreadable"
        meters = telemetry.metrics()
        meters.door_requests.labels(door="folder", status=status).inc()
        meters.door_seconds.labels(door="folder").observe(time.monotonic() - start)
        return status != "retry"

    async def _settle(self, path: Path) -> str:
        now = self._clock.now()
        try:
            subject, side = otoscope.named(path.stem)
        except Unprocessable as refused:
            await asyncio.to_thread(self._refuse, path, str(refused))
            return "refused"
        data = await asyncio.to_thread(_read, path)
        upload = otoscope.Upload(data, subject, side)
        try:
            _, message, blob = await asyncio.to_thread(otoscope.observed, upload, self._key, now, source=SOURCE)
        except Unprocessable as refused:
            letter, kept = otoscope.aside(data, str(refused), now, source=SOURCE)
            await self._door.accept([letter], kept)
            telemetry.metrics().dead_letters.labels(lane=SOURCE, kind="unprocessable").inc()
            await asyncio.to_thread(self._refuse, path, str(refused))
            return "refused"
        await self._door.accept([message], blob)
        await asyncio.to_thread(_move, path, self._root / DONE)
        return "accepted"

    def _refuse(self, path: Path, reason: str) -> None:
        moved = _move(path, self._root / REFUSED)
        moved.with_name(moved.name + ".txt").write_text(reason + "\n")


def _pictures(root: Path) -> Iterator[tuple[str, Size]]:
    with os.scandir(root) as found:
        for entry in found:
            if entry.name.startswith(".") or not entry.name.lower().endswith(SUFFIXES):
                continue
            if entry.is_file(follow_symlinks=False):
                state = entry.stat(follow_symlinks=False)
                yield entry.name, (state.st_size, state.st_mtime_ns)


def _read(path: Path) -> bytes:
    """The bytes; of a file that is too large only so many that it can be seen."""
    with path.open("rb") as file:
        return file.read(otoscope.MAX_IMAGE_BYTES + 1)


def _move(path: Path, folder: Path) -> Path:
    """Moves a file into a folder of the same file system; never over another one."""
    place = folder / path.name
    if place.exists():
        place = folder / f"{path.stem}.{ids.sha256_hex(f'{time.time_ns()}'.encode())[:8]}{path.suffix}"
    os.replace(path, place)
    return place
