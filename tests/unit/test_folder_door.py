"""The watched folder on fakes: growing files wait, what is taken or refused is moved, an outage loses nothing (S1)."""

import asyncio
import io
import os
from pathlib import Path

import pytest
from PIL import Image

from adapters.fakes.blobs import FakeBlobs
from adapters.fakes.clock import FakeClock
from adapters.fakes.publisher import FakePublisher
from producers import otoscope
from producers.door import Door, Limits
from producers.folder import Folder
from schemas import envelope, ids, topics
from schemas.events import ImageObserved

KEY = b"k" * 32


class Practice:
    """A folder that a camera writes into, and what comes of it."""

    def __init__(self, root: Path) -> None:
        self.root = root / "inbox"
        self.publisher, self.blobs, self.clock = FakePublisher(), FakeBlobs(), FakeClock()
        self.restart()

    def restart(self) -> None:
        """As after a crash: nothing is remembered."""
        door = Door(self.publisher, self.blobs, self.clock, Limits(0.05, 1000))
        self.folder = Folder(self.root, door, KEY, self.clock)
        self.folder.prepare()

    def put(self, name: str, content: bytes) -> Path:
        path = self.root / name
        path.write_bytes(content)
        return path

    async def scans(self, count: int = 2) -> None:
        for _ in range(count):
            await self.folder.scan()

    def events(self) -> list[ImageObserved]:
        return [
            envelope.read(ImageObserved, message.value)
            for message in self.publisher.topics.get(topics.OBSERVED_OTOSCOPE, [])
        ]

    def names(self, folder: str = "") -> list[str]:
        return sorted(path.name for path in (self.root / folder).iterdir() if path.is_file())


@pytest.fixture
async def practice(tmp_path: Path) -> Practice:
    found = Practice(tmp_path)
    await found.publisher.start()
    return found


def picture(shade: int = 90) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (shade, 40, 40)).save(file, "JPEG")
    return file.getvalue()


async def test_a_picture_that_stopped_growing_is_one_event_and_moved(practice: Practice) -> None:
    practice.put("P-9_left_drum.jpg", picture())
    await practice.scans(1)
    assert not practice.events()
    await practice.scans(1)
    (event,) = practice.events()
    assert event.subject_id == ids.subject_id(KEY, "", "P-9")
    assert (event.laterality, event.sender) == ("left", "door-folder")
    assert await practice.blobs.get(event.blob.uri)
    assert practice.names() == []
    assert practice.names("done") == ["P-9_left_drum.jpg"]


async def test_a_file_that_grows_waits_until_it_does_not(practice: Practice) -> None:
    whole = picture()
    practice.put("P_right.jpg", whole[:100])
    await practice.scans(1)
    practice.put("P_right.jpg", whole)
    await practice.scans(1)
    assert practice.names("refused") == []
    await practice.scans(1)
    assert len(practice.events()) == 1


async def test_what_cannot_be_taken_is_refused_beside_its_reason_and_harms_no_neighbour(practice: Practice) -> None:
    practice.put("a_left.jpg", b"no picture")
    practice.put("b.png", picture())
    practice.put("c_right.jpeg", picture())
    practice.put("notes.txt", b"left alone")
    practice.put(".d_left.jpg", b"hidden while it is written")
    os.symlink("/etc/hostname", practice.root / "e_left.jpg")
    await practice.scans()
    assert practice.names("refused") == ["a_left.jpg", "a_left.jpg.txt", "b.png", "b.png.txt"]
    assert "neither JPEG nor PNG" in (practice.root / "refused" / "a_left.jpg.txt").read_text()
    assert "SUBJECT_left" in (practice.root / "refused" / "b.png.txt").read_text()
    assert len(practice.events()) == 1
    assert len(practice.publisher.topics[topics.DEAD_UNPROCESSABLE]) == 1
    assert practice.names() == [".d_left.jpg", "e_left.jpg", "notes.txt"]


async def test_a_picture_that_is_too_large_is_refused(practice: Practice) -> None:
    practice.put("a_left.jpg", picture() + bytes(otoscope.MAX_IMAGE_BYTES))
    await practice.scans()
    assert "at most" in (practice.root / "refused" / "a_left.jpg.txt").read_text()


async def test_an_outage_keeps_the_file_and_a_repeat_is_the_same_event(practice: Practice) -> None:
    practice.publisher.away = True
    practice.put("P_left.jpg", picture())
    await practice.scans()
    assert practice.names() == ["P_left.jpg"]
    practice.publisher.away = False
    practice.restart()
    await practice.scans()
    assert practice.names("done") == ["P_left.jpg"]
    practice.put("P_left.jpg", picture())
    practice.put("Q_left.jpg", picture())
    await practice.scans()
    assert len(practice.names("done")) == 3, "a name that was there already is not written over"
    events = practice.events()
    assert len({event.event_id for event in events if event.subject_id == events[0].subject_id}) == 1


async def test_watching_ends_when_it_is_told_to(practice: Practice) -> None:
    stop = asyncio.Event()
    practice.put("P_left.jpg", picture())
    watching = asyncio.ensure_future(practice.folder.watch(stop))
    while not practice.events():
        await practice.clock.advance(1)
        await asyncio.sleep(0.01)
    stop.set()
    await asyncio.wait_for(watching, 10)
