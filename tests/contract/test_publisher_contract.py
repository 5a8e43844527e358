"""What every publisher promises; Kafka's and the fake sit the same exam."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr

from adapters.clock import SystemClock
from adapters.fakes.publisher import FakePublisher
from adapters.kafka import MAX_MESSAGE_BYTES, KafkaPublisher, Message, Publisher, client_security
from adapters.settings import KafkaSettings, Settings
from clinstream.reconciliation import log
from schemas.errors import BrokerUnavailable, RejectedInput
from tests.support import loop as support
from tests.support import stack


@dataclass
class Exam:
    """A publisher, how to read what it published, and how to take its broker away and bring it back."""

    publisher: Publisher
    topic: str
    read: Callable[[], Awaitable[list[bytes]]]
    leave: Callable[[], Awaitable[None]]
    come_back: Callable[[], Awaitable[None]]


@pytest.fixture(params=["kafka", "fake"])
async def exam(request: pytest.FixtureRequest) -> AsyncIterator[Exam]:
    """Kafka, stopped by SIGSTOP so that it neither answers nor refuses; then the fake."""
    if request.param == "fake":
        fake = FakePublisher()
        await fake.start()
        yield _fake_exam(fake)
        await fake.stop()
        return
    settings: Settings = request.getfixturevalue("own_kafka").settings()
    topic = support.fresh_name()
    support.make_topics(settings, topic)
    real = KafkaPublisher(settings.kafka, SystemClock())
    await real.start()
    yield _kafka_exam(real, request.getfixturevalue("own_kafka"), topic)
    await real.stop()


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[stack.RunningStack]:
    """A broker that no other test uses, since it is stopped and killed here."""
    with stack.start_parts("kafka") as running:
        yield running


def _fake_exam(fake: FakePublisher) -> Exam:
    async def read() -> list[bytes]:
        return [message.value for message in fake.topics["t"]]

    async def leave() -> None:
        fake.away = True

    async def come_back() -> None:
        fake.away = False

    return Exam(fake, "t", read, leave, come_back)


def _kafka_exam(real: KafkaPublisher, running: stack.RunningStack, topic: str) -> Exam:
    async def read() -> list[bytes]:
        return await asyncio.to_thread(lambda: [found.value for found in log.read(running.settings().kafka, [topic])])

    async def leave() -> None:
        pid = int(running.component("kafka")["pid"])
        os.kill(pid, signal.SIGSTOP)
        # A stop takes effect thread by thread; until the last one stands still a record may get through.
        await support.until(lambda: set(_states(pid)) == {"T"}, seconds=10, what="the broker's stop")

    async def come_back() -> None:
        _signal(running, signal.SIGCONT)

    return Exam(real, topic, read, leave, come_back)


def _states(pid: int) -> list[str]:
    """State of each thread of a process (proc(5), field 3 of stat)."""
    return [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]


def _signal(running: stack.RunningStack, number: signal.Signals) -> None:
    os.kill(int(running.component("kafka")["pid"]), number)


async def read_until(exam: Exam, count: int, *, seconds: float = 30) -> list[bytes]:
    """What was published, once there is that much of it."""
    give_up = time.monotonic() + seconds
    while True:
        found = await exam.read()
        if len(found) >= count or time.monotonic() > give_up:
            return found
        await asyncio.sleep(0.2)


async def test_a_published_record_is_there_and_its_position_is_told(exam: Exam) -> None:
    first = await exam.publisher.publish(exam.topic, b"k", [("ce_id", b"1")], b"one")
    second = await exam.publisher.publish(exam.topic, b"k", [], b"two")
    assert (first.topic, first.offset) == (exam.topic, 0)
    assert (second.partition, second.offset) == (first.partition, 1)
    assert await exam.read() == [b"one", b"two"]


async def test_many_records_keep_their_order_within_a_key(exam: Exam) -> None:
    await exam.publisher.publish_many([Message(exam.topic, b"k", [], str(number).encode()) for number in range(500)])
    assert await exam.read() == [str(number).encode() for number in range(500)]
    await exam.publisher.publish_many([])


async def test_records_of_all_sizes_and_keys_keep_their_order_within_a_key(exam: Exam) -> None:
    """More than one batch a partition, and some partitions with few; every record once."""
    padding = b"x" * 5_000
    sent = [(key, b"%d:%d:%s" % (key, number, padding)) for number in range(60) for key in range(3)]
    many = [Message(exam.topic, str(key).encode(), [("ce_id", b"1")], value) for key, value in sent]
    await exam.publisher.publish_many(
        [*many, Message(exam.topic, b"other", [], b"9:0:"), Message(exam.topic, None, [], b"8:0:")]
    )
    found = await exam.read()
    assert len(found) == len(sent) + 2
    for key in range(3):
        mine = [value for value in found if value.startswith(b"%d:" % key)]
        assert mine == [value for place, value in sent if place == key]


async def test_one_record_that_is_too_large_among_many_is_rejected(exam: Exam) -> None:
    many = [Message(exam.topic, b"k", [], b"small")] * 20
    with pytest.raises(RejectedInput, match="at most"):
        await exam.publisher.publish_many([*many, Message(exam.topic, b"k", [], b"x" * (MAX_MESSAGE_BYTES + 1))])


async def test_a_deadline_that_passes_is_unavailable_and_the_record_lands_all_the_same(exam: Exam) -> None:
    """Doors: "try again" is answered, and the event's identity makes its later landing harmless."""
    await exam.publisher.publish(exam.topic, b"k", [], b"before")
    await exam.leave()
    try:
        with pytest.raises(BrokerUnavailable):
            await exam.publisher.publish(exam.topic, b"k", [], b"late", deadline_s=0.5)
    finally:
        await exam.come_back()
    assert await read_until(exam, 2) == [b"before", b"late"]


async def test_a_caller_that_is_cancelled_does_not_take_its_record_back(exam: Exam) -> None:
    await exam.publisher.publish(exam.topic, b"k", [], b"before")
    await exam.leave()
    try:
        task = asyncio.ensure_future(exam.publisher.publish(exam.topic, b"k", [], b"late"))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        await exam.come_back()
    assert await read_until(exam, 2) == [b"before", b"late"]


async def test_a_record_that_is_too_large_is_rejected_and_the_next_one_goes_through(exam: Exam) -> None:
    with pytest.raises(RejectedInput, match="at most"):
        await exam.publisher.publish(exam.topic, b"k", [], b"x" * (MAX_MESSAGE_BYTES + 1))
    await exam.publisher.publish(exam.topic, b"k", [], b"small")
    assert await exam.read() == [b"small"]


async def test_publishing_before_the_start_is_unavailable() -> None:
    for publisher in (KafkaPublisher(KafkaSettings(), SystemClock()), FakePublisher()):
        with pytest.raises(BrokerUnavailable, match="not started"):
            await publisher.publish("t", None, [], b"x")


async def test_no_broker_at_the_start_is_unavailable_and_leaves_nothing_open() -> None:
    nobody = KafkaSettings(bootstrap_servers="127.0.0.1:9", request_timeout_s=1)
    publisher = KafkaPublisher(nobody, SystemClock())
    with pytest.raises(BrokerUnavailable, match="no Kafka broker"):
        await publisher.start()


@pytest.mark.slow
async def test_a_broker_killed_with_records_on_their_way_loses_and_repeats_none(
    own_kafka: stack.RunningStack,
) -> None:
    """Delivery: idempotence over a SIGKILL; what was acknowledged is there once."""
    settings = own_kafka.settings()
    topic = support.fresh_name()
    support.make_topics(settings, topic)
    publisher = KafkaPublisher(settings.kafka, SystemClock())
    await publisher.start()
    try:
        pending = []
        for number in range(4000):
            message = Message(topic, str(number).encode(), [], str(number).encode())
            pending.append(asyncio.ensure_future(publisher.publish_many([message])))
            if number == 1000:
                await asyncio.sleep(0.05)
                _signal(own_kafka, signal.SIGKILL)
            if number % 50 == 0:
                await asyncio.sleep(0.01)
        await asyncio.wait_for(asyncio.gather(*pending), 60)
    finally:
        await publisher.stop()
    values = [int(found.value) for found in await asyncio.to_thread(lambda: list(log.read(settings.kafka, [topic])))]
    assert sorted(values) == list(range(4000))


async def test_leaders_are_looked_for_with_a_pause_while_no_broker_answers(own_kafka: stack.RunningStack) -> None:
    """aiokafka's sender asks at once again, thousands of times a second, when an orderly stop left no leader known."""
    settings = own_kafka.settings()
    topic = support.fresh_name()
    support.make_topics(settings, topic)
    publisher = KafkaPublisher(settings.kafka, SystemClock())
    await publisher.start()
    try:
        await publisher.publish(topic, b"key", [], b"before")
        assert publisher._line is not None
        client = publisher._line.producer.client
        known = client.cluster._partitions[topic]
        asked, connect = 0, client._get_conn

        async def counted(*arguments: object, **more: object) -> object:
            nonlocal asked
            asked += 1
            return await connect(*arguments, **more)

        client._get_conn = counted
        _signal(own_kafka, signal.SIGKILL)
        for number, partition in list(known.items()):
            known[number] = partition._replace(leader=-1)
        with pytest.raises(BrokerUnavailable):
            await publisher.publish(topic, b"key", [], b"meanwhile", deadline_s=1.0)
        assert asked < 100
    finally:
        await publisher.stop()


def test_security_settings_reach_the_clients(tmp_path: Path) -> None:
    """SASL and TLS exist from the start."""
    plain = client_security(KafkaSettings())
    assert plain == {"security_protocol": "PLAINTEXT"}
    guarded = KafkaSettings(
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_username="us",
        sasl_password=SecretStr("secret"),
    )
    found = client_security(guarded)
    assert found["sasl_mechanism"] == "SCRAM-SHA-512"
    assert found["sasl_plain_username"] == "us"
    assert found["sasl_plain_password"] == "secret"
    assert found["ssl_context"].check_hostname
    assert "secret" not in repr(guarded)
