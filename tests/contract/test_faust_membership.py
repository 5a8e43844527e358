"""Static membership: quick restarts, a topic more, one process for one identity; against a real broker."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from adapters import topics_admin
from adapters.identity_lock import identity, instance_id
from adapters.settings import Settings
from clinstream.reconciliation import log
from consumers import process, running
from consumers.delivery import Delivery
from consumers.outcomes import Batch, Outcome
from schemas.errors import Conflict
from tests.support import loop as support
from tests.support.arrivals import ToyStep, number_of

KILLS = 3
EVENTS = 1000


def step(*topics: str) -> ToyStep:
    """A step that only looks."""
    return ToyStep(topics=topics, batch=Batch(16, 0.01), in_flight=64)


def count(found: ToyStep) -> int:
    """How many events it saw."""
    return sum(len(numbers) for numbers in found.seen)


async def test_a_restart_with_one_topic_more_gets_its_events(kafka_settings: Settings, tmp_path: Path) -> None:
    """A static member that came back under its old id would never be given the new topic."""
    settings = support.at_home(kafka_settings, tmp_path)
    old, new, name = support.fresh_name(), support.fresh_name(), support.fresh_name()
    support.make_topics(settings, old, new)
    async with support.around(settings) as services:
        await support.publish(services, old, range(20))
        await support.publish(services, new, range(20))
        first = step(old)
        async with support.running(settings, first, services, name=name):
            await support.until(lambda: count(first) == 20, seconds=20, what="the first topic")
        second = step(old, new)
        async with support.running(settings, second, services, name=name):
            await support.until(lambda: count(second) == 20, seconds=25, what="the second topic")


async def test_under_the_old_member_id_the_new_topic_never_comes(kafka_settings: Settings, tmp_path: Path) -> None:
    """Why the id carries a hash of the topics: when this fails the trap is gone from Kafka's clients."""
    settings = support.at_home(kafka_settings, tmp_path)
    old, new, name = support.fresh_name(), support.fresh_name(), support.fresh_name()
    support.make_topics(settings, old, new)
    fixed = {"consumer_group_instance_id": f"{name}.0", "broker_session_timeout": 20.0}
    async with support.around(settings) as services:
        await support.publish(services, old, range(20))
        await support.publish(services, new, range(20))
        first = step(old)
        async with support.running(settings, first, services, name=name, overrides=fixed):
            await support.until(lambda: count(first) == 20, seconds=20, what="the first topic")
        second = step(old, new)
        async with support.running(settings, second, services, name=name, overrides=fixed):
            await asyncio.sleep(8)
            assert count(second) == 0


def test_the_member_id_follows_the_set_of_topics_and_not_their_order() -> None:
    assert instance_id("record", 0, ["a", "b"]) == instance_id("record", 0, ["b", "a"])
    assert instance_id("record", 0, ["a"]) != instance_id("record", 0, ["a", "b"])
    assert instance_id("record", 0, ["a"]).startswith("record.0.")


async def test_a_second_process_of_one_identity_is_refused_and_named(kafka_settings: Settings, tmp_path: Path) -> None:
    """Two members under one id would rebalance for ever."""
    settings = support.at_home(kafka_settings, tmp_path)
    topic, name = support.fresh_name(), support.fresh_name()
    support.make_topics(settings, topic)
    async with toy(settings, name, topic, topic + ".out") as first:
        await first.wait_for('"event":"reads"')
        with pytest.raises(Conflict, match=f"{name} number 0 runs already as process {first.pid}"):
            await running.run(process.ConsumerProcess(name, 0, settings), step(topic), support.Around(None), stop())  # type: ignore[arg-type]


def test_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    with identity(tmp_path, "record", 0), pytest.raises(Conflict), identity(tmp_path, "record", 0):
        pass
    with identity(tmp_path, "record", 0), identity(tmp_path, "record", 1):
        pass


async def test_a_missing_topic_is_named_and_the_process_does_not_start(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    """Faust would log one line, say "Ready", and read nothing."""
    settings = support.at_home(kafka_settings, tmp_path)
    topic = support.fresh_name("missing")
    with pytest.raises(Conflict, match=topic):
        await running.run(process.ConsumerProcess("x", 0, settings), step(topic), support.Around(None), stop())  # type: ignore[arg-type]


@pytest.mark.slow
async def test_killed_again_and_again_it_loses_nothing_and_comes_back_within_seconds(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    """Delivery: SIGKILL with slow events in flight; Faust's own account loses some of them."""
    settings = support.at_home(kafka_settings, tmp_path)
    come, go, name = support.fresh_name(), support.fresh_name(), support.fresh_name()
    support.make_topics(settings, come, go)
    async with support.around(settings) as services:
        await support.publish(services, come, range(EVENTS))
    pauses = []
    for _ in range(KILLS):
        async with toy(settings, name, come, go) as running:
            before = passed_on(settings, go)
            await running.wait_for('"event":"starts"')
            starts = time.monotonic()
            await support.until(lambda past=before: passed_on(settings, go) > past, seconds=30, what="the first event")  # type: ignore[misc]
            pauses.append(time.monotonic() - starts)
            await asyncio.sleep(0.6)
            running.kill()
    async with toy(settings, name, come, go):
        await support.until_committed(settings, name, come, seconds=40)
    seen = {record.key for record in log.read(settings.kafka, [go])}
    assert seen == {str(number).encode() for number in range(EVENTS)}
    # From joining, and the best of the restarts, since a busy machine makes any of them slow; who waits out a dead
    # member's session waits 10 s every time.
    assert min(pauses[1:]) < 8, pauses


async def test_sigterm_ends_it_in_order(kafka_settings: Settings, tmp_path: Path) -> None:
    """What is in flight is finished and committed, and the exit status says that all is well."""
    settings = support.at_home(kafka_settings, tmp_path)
    come, go, name = support.fresh_name(), support.fresh_name(), support.fresh_name()
    support.make_topics(settings, come, go)
    async with support.around(settings) as services:
        await support.publish(services, come, range(200))
    async with toy(settings, name, come, go) as running:
        await support.until(lambda: passed_on(settings, go) >= 20, seconds=30, what="the first work")
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.process.wait(), 20) == 0, running.said
    finished = passed_on(settings, go)
    assert finished + support.behind(settings, name, come) == 200, "nothing is done twice after an orderly stop"


def passed_on(settings: Settings, topic: str) -> int:
    """How many records a topic holds."""
    return sum(each.end for each in topics_admin.lag(settings, "nobody", [topic]))


def stop() -> asyncio.Event:
    """Nobody asks it to stop."""
    return asyncio.Event()


class Toy:
    """A running toy process and what it said."""

    def __init__(self, running: asyncio.subprocess.Process) -> None:
        self.process = running
        self.pid = running.pid
        self.said = ""
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.said += line.decode()

    async def wait_for(self, text: str) -> None:
        """Waits until it has said something."""
        await support.until(lambda: text in self.said, seconds=30, what=text)

    def kill(self) -> None:
        """As a power cut does."""
        self.process.kill()

    async def end(self) -> None:
        """Makes sure that it is gone."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reader


@asynccontextmanager
async def toy(settings: Settings, name: str, come: str, go: str) -> AsyncIterator[Toy]:
    """A process that passes readings on."""
    words = [str(settings.home), settings.kafka.bootstrap_servers, name, "0", come, go]
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.toy_process",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    found = Toy(started)
    try:
        yield found
    finally:
        await found.end()


class SlowNow(ToyStep):
    """Takes 20 ms an event, and half a second for one in forty."""

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[Sequence[Outcome]]:
        """Nothing more to do for any."""
        await asyncio.sleep(0.5 if any(number_of(each) % 40 == 0 for each in batch) else 0.02)
        return await super().__call__(batch)


@pytest.mark.slow
async def test_a_second_process_joining_and_leaving_under_load_loses_nothing(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    """S10: scaling out and in moves partitions while their events are in flight."""
    settings = support.at_home(kafka_settings, tmp_path)
    topic, name = support.fresh_name(), support.fresh_name()
    support.make_topics(settings, topic, partitions=4)

    def slow() -> SlowNow:
        return SlowNow(topics=(topic,), batch=Batch(4, 0.01), in_flight=32)

    quick = {"broker_session_timeout": 6.0}
    first, second = slow(), slow()
    async with support.around(settings) as services:
        await support.publish(services, topic, range(3000))
        async with support.running(settings, first, services, name=name, overrides=quick):
            await support.until(lambda: count(first) > 100, seconds=30, what="the first work")
            other = quick | {"consumer_group_instance_id": instance_id(name, 1, [topic])}
            async with support.running(settings, second, services, name=name, index=1, overrides=other):
                await support.until(lambda: count(second) > 100, seconds=30, what="the second one's work")
                await support.publish(services, topic, range(3000, 3400))
            await support.until_committed(settings, name, topic, seconds=60)
    assert {number for batch in first.seen + second.seen for number in batch} == set(range(3400))
