"""The real loop in this process, over a broker's topics that no other test knows."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from adapters import topics_admin
from adapters.clock import Clock, SystemClock
from adapters.kafka import KafkaPublisher, Message, Publisher
from adapters.settings import Settings
from consumers import app
from consumers.process import ConsumerProcess
from consumers.steps import Step
from tests.support.arrivals import Kept, packed


@dataclass
class Around:
    """What the loop needs beside Kafka."""

    publisher: Publisher
    clock: Clock = field(default_factory=SystemClock)
    database: Kept = field(default_factory=Kept)


def fresh_name(kind: str = "test") -> str:
    """A name for a topic or a process that no other test uses."""
    return f"{kind}-{uuid4().hex[:12]}"


def make_topics(settings: Settings, *names: str, partitions: int = 2) -> None:
    """Makes topics on the test's broker."""
    with topics_admin.admin(settings.kafka) as client:
        client.create_topics({name: {"num_partitions": partitions} for name in names}, wait_for_metadata=True)


def at_home(settings: Settings, home: Path) -> Settings:
    """The same servers for an installation in another folder."""
    return settings.model_copy(update={"home": home})


@asynccontextmanager
async def around(settings: Settings) -> AsyncIterator[Around]:
    """A started publisher and a database in memory."""
    publisher = KafkaPublisher(settings.kafka, SystemClock())
    await publisher.start()
    try:
        yield Around(publisher)
    finally:
        await publisher.stop()


@asynccontextmanager
async def running(
    settings: Settings,
    step: Step,
    services: Around,
    *,
    name: str,
    index: int = 0,
    overrides: Mapping[str, Any] | None = None,
) -> AsyncIterator[app.Loop]:
    """The loop, stopped in order on leaving; an error of it is raised there."""
    loop = app.Loop(ConsumerProcess(name, index, settings), step, services, overrides or {})
    stop = asyncio.Event()
    task = asyncio.ensure_future(loop.run(stop))
    try:
        yield loop
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)


async def publish(services: Around, topic: str, numbers: Sequence[int], *, key: bytes | None = None) -> None:
    """Readings of these numbers onto a topic; without a key each has its own."""
    messages = []
    for number in numbers:
        headers, value = packed(number)
        messages.append(Message(topic, key or str(number).encode(), headers, value))
    await services.publisher.publish_many(messages)


async def until(condition: Callable[[], bool], *, seconds: float, what: str = "it") -> None:
    """Waits until the condition holds; fails after `seconds`."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + seconds
    while not condition():
        assert loop.time() < give_up, f"{what} did not happen within {seconds} s"
        await asyncio.sleep(0.02)


def committed(settings: Settings, name: str, topic: str) -> dict[int, int | None]:
    """Committed offset of each partition, for the group of a process name."""
    return {each.partition: each.committed for each in topics_admin.lag(settings, f"clinstream.{name}", [topic])}


def behind(settings: Settings, name: str, topic: str) -> int:
    """Events that the group has not committed."""
    return sum(each.events for each in topics_admin.lag(settings, f"clinstream.{name}", [topic]))


async def until_committed(settings: Settings, name: str, topic: str, *, seconds: float) -> None:
    """Waits until the group has committed everything on the topic."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + seconds
    while await asyncio.to_thread(behind, settings, name, topic):
        assert loop.time() < give_up, f"{topic} was not finished within {seconds} s"
        await asyncio.sleep(0.1)
