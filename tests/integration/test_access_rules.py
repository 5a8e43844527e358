"""Access rules at a real broker with accounts: a service can do what the topics table says, and nothing else (S6)."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import GroupAuthorizationFailedError, TopicAuthorizationFailedError

from adapters import access, topics_admin
from adapters.clock import SystemClock
from adapters.kafka import KafkaPublisher, client_security
from adapters.settings import Settings
from schemas import topics
from schemas.access import SUBSCRIBERS, accounts, rules
from schemas.errors import BrokerUnavailable, Conflict
from tests.support import loop as support
from tests.support import protected_broker
from tests.support.arrivals import ToyStep, packed
from tests.support.protected_broker import as_account

TASK = "toy_task"
RESULTS = topics.results_topic(TASK)
STRANGER = {"sasl_username": "nobody", "request_timeout_s": 2.0}


@pytest.fixture(scope="module")
def broker() -> Iterator[Settings]:
    """The administrator's settings at a broker that has all topics and all rules."""
    with protected_broker.serving() as settings:
        topics_admin.ensure_topics(settings, [TASK])
        given = access.ensure_access(settings, rules([TASK]), accounts())
        assert given.added == len(rules([TASK]))
        yield settings


@asynccontextmanager
async def publisher(settings: Settings) -> AsyncIterator[KafkaPublisher]:
    """Our publisher under an account."""
    made = KafkaPublisher(settings.kafka, SystemClock())
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def first_value(settings: Settings, topic: str, group: str) -> bytes:
    """What a plain client of this account reads first."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=settings.kafka.bootstrap_servers,
        group_id=group,
        auto_offset_reset="earliest",
        **client_security(settings.kafka),
    )
    try:
        await consumer.start()
        found = await consumer.getone()
        return found.value or b""
    finally:
        await consumer.stop()


async def test_a_service_writes_its_topic_and_a_subscriber_reads_it(broker: Settings) -> None:
    """S6: the table's writer and reader, each under its own account."""
    headers, value = packed(1)
    async with publisher(as_account(broker, "record")) as record:
        await record.publish(RESULTS, b"sub-1", headers, value)
    assert await first_value(as_account(broker, SUBSCRIBERS), RESULTS, "subscriber.ward") == value


async def test_a_service_cannot_write_what_another_writes(broker: Settings) -> None:
    """S6: a door cannot publish a result, however it was taken over."""
    headers, value = packed(2)
    async with publisher(as_account(broker, "door-dicom")) as door:
        with pytest.raises(BrokerUnavailable):
            await door.publish(RESULTS, b"sub-1", headers, value, deadline_s=5)
    async with publisher(as_account(broker, "door-dicom")) as door:
        await door.publish(topics.OBSERVED_DICOM, b"stu-1", headers, value)


async def test_a_subscriber_cannot_read_what_stays_inside_nor_as_a_service(broker: Settings) -> None:
    """S6, CC: candidates' answers stay inside; nobody moves a service's committed offsets."""
    subscriber = as_account(broker, SUBSCRIBERS)
    with pytest.raises(TopicAuthorizationFailedError):
        await first_value(subscriber, topics.ANSWERS, "subscriber.ward")
    with pytest.raises(GroupAuthorizationFailedError):
        await first_value(subscriber, RESULTS, "clinstream.record")


async def test_the_loop_works_under_its_account(broker: Settings, tmp_path: Path) -> None:
    """S6: Faust, our publisher and the administration all sign in; offsets are committed in the service's group."""
    headers, value = packed(3)
    door, mine = as_account(broker, "door-http"), support.at_home(as_account(broker, "signals"), tmp_path)
    async with publisher(door) as sender:
        await sender.publish(topics.OBSERVED_VITALS, b"sub-1", headers, value)
    async with support.around(mine) as services:
        step = ToyStep(topics=(topics.OBSERVED_VITALS,))
        async with support.running(mine, step, services, name="signals"):
            await support.until_committed(broker, "signals", topics.OBSERVED_VITALS, seconds=40)


def test_applying_again_changes_nothing_and_a_rule_that_went_is_taken_away(broker: Settings) -> None:
    """S6: access follows the table in both directions."""
    wanted = rules([TASK])
    assert access.ensure_access(broker, wanted, accounts()) == access.Changed(0, 0)
    assert access.ensure_access(broker, wanted[1:], accounts()) == access.Changed(0, 1)
    assert access.ensure_access(broker, wanted, accounts()) == access.Changed(1, 0)


def test_a_service_cannot_change_the_rules_and_a_wrong_password_is_refused(broker: Settings) -> None:
    """S6: only the administrator decides."""
    with pytest.raises(Conflict):
        access.ensure_access(as_account(broker, "record"), rules([TASK]), accounts())
    wrong = as_account(broker, "record")
    stranger = wrong.model_copy(update={"kafka": wrong.kafka.model_copy(update=STRANGER)})
    with pytest.raises((Conflict, BrokerUnavailable)):
        topics_admin.missing_topics(stranger.kafka, [])
