"""The door's promise: durable, then acknowledged, within a deadline; and when it says "try again" (delivery rule 1)."""

import asyncio

import pytest

from adapters.fakes.blobs import FakeBlobs
from adapters.fakes.clock import FakeClock
from adapters.fakes.publisher import FakePublisher
from adapters.kafka import Message
from producers.door import Door, Limits
from schemas.errors import BrokerUnavailable, StoreUnavailable

EVENT = Message("observed.dicom", b"study", [], b"{}")


@pytest.fixture
async def publisher() -> FakePublisher:
    found = FakePublisher()
    await found.start()
    return found


async def test_a_refused_event_still_lands_when_the_broker_is_back_because_its_send_is_never_cancelled(
    publisher: FakePublisher,
) -> None:
    door = Door(publisher, FakeBlobs(), FakeClock(), Limits(0.02, 0))
    publisher.away = True
    with pytest.raises(BrokerUnavailable):
        await door.accept([EVENT])
    assert not publisher.topics["observed.dicom"]
    publisher.away = False
    assert await door.drain(5.0) == 0
    assert publisher.topics["observed.dicom"] == [EVENT]


async def test_what_waits_for_a_dead_broker_is_bounded_and_the_door_opens_again_afterwards(
    publisher: FakePublisher,
) -> None:
    door = Door(publisher, FakeBlobs(), FakeClock(), Limits(0.01, 0, waiting_messages=3))
    publisher.away = True
    for _ in range(3):
        with pytest.raises(BrokerUnavailable):
            await door.accept([EVENT])
    assert isinstance(door.why_refuse(), BrokerUnavailable)
    with pytest.raises(BrokerUnavailable, match="too much waits"):
        await door.accept([EVENT])
    publisher.away = False
    await door.drain(5.0)
    assert door.why_refuse() is None
    await door.accept([EVENT])
    assert len(publisher.topics["observed.dicom"]) == 4


async def test_below_the_disk_watermark_nothing_is_taken_until_there_is_room(publisher: FakePublisher) -> None:
    blobs, clock = FakeBlobs(), FakeClock()
    blobs.room = 999
    door = Door(publisher, blobs, clock, Limits(1.0, 1000))
    with pytest.raises(StoreUnavailable, match="almost full"):
        await door.accept([EVENT])
    blobs.room = 100_000
    await clock.advance(1.0)
    await door.accept([EVENT])


async def test_a_store_that_hangs_is_given_up_within_the_deadline_and_nothing_is_published(
    publisher: FakePublisher,
) -> None:
    hanging = asyncio.Event()

    class Hanging(FakeBlobs):
        async def put(self, uri: str, data: bytes | memoryview, *, durable: bool) -> None:
            await hanging.wait()

    door = Door(publisher, Hanging(), FakeClock(), Limits(0.02, 0))
    with pytest.raises(StoreUnavailable, match="in time"):
        await door.accept([EVENT], ("pixels/ab/x", b"x"))
    assert not publisher.topics["observed.dicom"]
    hanging.set()
    await door.drain(5.0)


async def test_the_object_is_durable_before_its_event_is_published(publisher: FakePublisher) -> None:
    blobs = FakeBlobs()

    class Watching(FakePublisher):
        durable_first = False

        async def publish_many(self, messages: object, *, deadline_s: float | None = None) -> None:
            self.durable_first = "pixels/ab/x" in blobs.durable

    watching = Watching()
    await Door(watching, blobs, FakeClock(), Limits(1.0, 0)).accept([EVENT], ("pixels/ab/x", b"x"))
    assert watching.durable_first
