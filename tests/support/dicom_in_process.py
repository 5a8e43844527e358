"""The real DICOM door in the test's own process, on fakes of broker and store: for what needs no other process."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from adapters.clock import SystemClock
from adapters.fakes.blobs import FakeBlobs
from adapters.fakes.publisher import FakePublisher
from producers.dicom import DicomDoor, Listening, dicom_door
from producers.dicom_journal import Journal
from producers.door import Door, Limits

KEY = b"k" * 32


@dataclass
class InProcess:
    """A door that listens; `journal` holds the associations that ended."""

    scp: DicomDoor
    publisher: FakePublisher
    blobs: FakeBlobs
    journal: list[Journal] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return self.scp.port

    def last(self, seconds: float = 10.0) -> Journal:
        """The entry of the association that ends next, or just did."""
        assert self.ended.wait(seconds), "no association ended"
        self.ended.clear()
        return self.journal[-1]


@contextmanager
def listening(limits: Limits | None = None, free_bytes: int = 1 << 40, **changes: Any) -> Iterator[InProcess]:
    """A door on a port of its own; `changes` are those of `Listening`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    publisher, blobs = FakePublisher(), FakeBlobs()
    asyncio.run_coroutine_threadsafe(publisher.start(), loop).result(10)
    door = Door(publisher, blobs, SystemClock(), limits or Limits(5.0, 1000), lambda: free_bytes)
    found: list[InProcess] = []

    def ended(entry: Journal) -> None:
        found[0].journal.append(entry)
        found[0].ended.set()

    scp = dicom_door(door, KEY, SystemClock(), Listening("127.0.0.1", 0, "CLINSTREAM", **changes), loop, ended=ended)
    found.append(InProcess(scp, publisher, blobs))
    scp.start()
    try:
        yield found[0]
    finally:
        scp.stop(1.0)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
