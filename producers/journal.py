"""Entries of the doors' journal on their way to PostgreSQL: buffered, written behind, counted when there is no room.

No sender waits for it. What is in the buffer when the process is killed is gone; the log keeps every object.
"""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from adapters import telemetry
from adapters.clock import Clock
from adapters.settings import Settings
from producers.dicom_journal import Journal
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from adapters.database import Database, DoorEntry

log = telemetry.logger("door.journal")

ROOM = 2_000
BATCH = 200
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0

Write = Callable[[Sequence[Journal]], Awaitable[None]]


class JournalWriter:
    """`note` from any thread; `run` as a task of the event loop."""

    def __init__(self, write: Write, clock: Clock, room: int = ROOM) -> None:
        self._write, self._clock, self._room = write, clock, room
        self._waiting: deque[Journal] = deque()
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._woken = asyncio.Event()

    def note(self, entry: Journal) -> None:
        """Takes an entry, or counts it as dropped; never waits."""
        with self._lock:
            taken = len(self._waiting) < self._room
            if taken:
                self._waiting.append(entry)
        if not taken:
            telemetry.metrics().door_journal.labels(fate="dropped").inc()
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended: so has the door
            self._loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Writes until it is cancelled; waits longer and longer while the database is away."""
        pause = FIRST_PAUSE_S
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                if await self.flush():
                    pause = FIRST_PAUSE_S
                    continue
                await self._clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)

    async def flush(self) -> bool:
        """Writes up to one batch; False, with nothing lost, when the database is away."""
        with self._lock:
            batch = [self._waiting[place] for place in range(min(BATCH, len(self._waiting)))]
        try:
            await self._write(batch)
        except Unavailable as error:
            log.warning("the journal waits", reason=str(error))
            return False
        with self._lock:
            for _ in batch:
                self._waiting.popleft()
        telemetry.metrics().door_journal.labels(fate="written").inc(len(batch))
        return True

    async def close(self, seconds: float) -> None:
        """A last try for what is left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._waiting and await self.flush():
                    pass
        if self._waiting:
            telemetry.metrics().door_journal.labels(fate="dropped").inc(len(self._waiting))


class JournalTable:
    """Where a writer writes to. The database's client (1.2 s of processor time to import) comes with the first entry,
    so that a door that starts again is open before."""

    def __init__(self, settings: Settings, clock: Clock, door: str) -> None:
        self._settings, self._clock, self._door = settings, clock, door
        self._database: Database | None = None

    async def __call__(self, entries: Sequence[Journal]) -> None:
        """Writes entries; raises DatabaseUnavailable."""
        if self._database is None:
            self._database = await asyncio.to_thread(self._open)
        await self._database.note_associations([entry_of(each, self._door) for each in entries])

    async def close(self) -> None:
        """Gives the connections back."""
        if self._database is not None:
            await self._database.close()

    def _open(self) -> "Database":
        from adapters.database import Database

        return Database.open(self._settings, self._clock)


def entry_of(journal: Journal, door: str) -> "DoorEntry":
    """The row of an association that ended."""
    from adapters.database import DoorEntry

    return DoorEntry(
        association_id=journal.association_id,
        door=door,
        sender=journal.sender,
        called=journal.called,
        address=journal.address,
        began_at=journal.began,
        seconds=journal.seconds,
        ended=journal.ended,
        received_bytes=journal.received_bytes,
        statuses=dict(journal.statuses),
        reasons=dict(journal.reasons),
        sop_classes=dict(journal.classes),
        transfer_syntaxes=dict(journal.syntaxes),
    )
