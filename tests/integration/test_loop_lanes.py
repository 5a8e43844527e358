"""Two lanes over one topic, the brake over a restart, and the loop through a broker's death; Kafka is real."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import pytest

from adapters import telemetry, topics_admin
from adapters.kafka import Message
from adapters.settings import Settings
from clinstream.reconciliation import log
from consumers import app, brake
from consumers.delivery import Delivery
from consumers.outcomes import Batch, Outcome, Publish
from consumers.watchdog import Watchdog
from schemas.errors import StepFailed
from tests.support import loop as support
from tests.support import stack
from tests.support.arrivals import ToyStep, number_of, packed, vitals


class OneLane(ToyStep):
    """Takes the events of one priority."""

    def __init__(self, topic: str, priority: bytes) -> None:
        super().__init__(topics=(topic,), batch=Batch(16, 0.01), in_flight=64)
        self._priority = priority

    def accepts_headers(self, headers: Iterable[tuple[str, bytes]]) -> bool:
        """Whether it is this lane's."""
        return dict(headers).get("ce_priority") == self._priority

    @property
    def numbers(self) -> set[int]:
        """What it saw."""
        return {number for batch in self.seen for number in batch}


class PassOn(ToyStep):
    """Publishes each reading to another topic."""

    def __init__(self, come: str, go: str) -> None:
        super().__init__(topics=(come,), batch=Batch(32, 0.01), in_flight=128, order="key")
        self._go = go

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[Sequence[Outcome]]:
        """One event for each."""
        await super().__call__(batch)
        return [[Publish(self._go, each.key, vitals(number_of(each)), str(number_of(each)), "s")] for each in batch]


async def test_two_lanes_share_a_topic_and_each_event_is_worked_on_by_one(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    """CC14: STAT and routine apart; the other lane's events are committed without being decoded."""
    settings = support.at_home(kafka_settings, tmp_path)
    topic, stat, routine = support.fresh_name(), support.fresh_name("stat"), support.fresh_name("routine")
    support.make_topics(settings, topic)
    first, second = OneLane(topic, b"stat"), OneLane(topic, b"routine")
    async with support.around(settings) as services:
        messages = []
        for number in range(300):
            headers, value = packed(number, priority="stat" if number % 5 == 0 else "routine")
            messages.append(Message(topic, str(number).encode(), headers, value))
        await services.publisher.publish_many(messages)
        async with (
            support.running(settings, first, services, name=stat),
            support.running(settings, second, services, name=routine),
        ):
            await support.until_committed(settings, stat, topic, seconds=30)
            await support.until_committed(settings, routine, topic, seconds=30)
    assert first.numbers == set(range(0, 300, 5))
    assert second.numbers == set(range(300)) - first.numbers


async def test_a_braked_lane_stays_braked_through_a_restart_and_loses_nothing_when_resumed(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    """A bad release must not push everything aside."""
    settings = support.at_home(kafka_settings, tmp_path)
    topics_admin.ensure_topics(settings, [])
    topic, name = support.fresh_name(), support.fresh_name()
    support.make_topics(settings, topic)

    def bad(batch: Sequence[Delivery]) -> Sequence[Sequence[Outcome]]:
        raise StepFailed("bad release")

    async with support.around(settings) as services:
        await support.publish(services, topic, range(200))
        step = ToyStep(answer=bad, topics=(topic,), batch=Batch(1, 0.0), in_flight=16)
        async with support.running(settings, step, services, name=name) as found:
            await support.until(lambda: found.lane.brake.engaged, seconds=30, what="braking")
        assert brake.braked_lanes(tmp_path) == [name]
        step = ToyStep(topics=(topic,), batch=Batch(1, 0.0), in_flight=16)
        async with support.running(settings, step, services, name=name):
            await asyncio.sleep(3)
            assert step.seen == []
            assert brake.release(tmp_path, name)
            await support.until_committed(settings, name, topic, seconds=30)
        put_aside = len(services.database.rows)
        assert put_aside < 20
        assert len({number for batch in step.seen for number in batch}) >= 200 - put_aside


@pytest.mark.slow
async def test_the_loop_goes_on_after_its_broker_was_killed(tmp_path: Path) -> None:
    """Kafka SIGKILLed with work in flight: parked while it is away, nothing lost, nothing put aside."""
    with stack.start_parts("kafka") as own:
        settings = support.at_home(own.settings(), tmp_path)
        come, go, name = support.fresh_name(), support.fresh_name(), support.fresh_name()
        support.make_topics(settings, come, go)
        step = PassOn(come, go)
        async with support.around(settings) as services:
            await support.publish(services, come, range(1500))
            async with support.running(settings, step, services, name=name):
                await support.until(lambda: len(step.seen) > 5, seconds=30, what="the first work")
                os.kill(int(own.component("kafka")["pid"]), signal.SIGKILL)
                await support.until(lambda: not answers(settings), seconds=10, what="the broker's death")
                await support.until(lambda: answers(settings), seconds=90, what="the broker's return")
                await support.until_committed(settings, name, come, seconds=90)
            assert services.database.rows == {}
        assert {record.key for record in log.read(settings.kafka, [go])} == {str(n).encode() for n in range(1500)}


def answers(settings: Settings) -> bool:
    """Whether something listens where the broker does."""
    host, _, port = settings.kafka.bootstrap_servers.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


async def test_lag_work_in_flight_and_commits_are_exported(kafka_settings: Settings, tmp_path: Path) -> None:
    """S7: operators see where a lane stands."""
    settings = support.at_home(kafka_settings, tmp_path)
    topic, name = support.fresh_name(), support.fresh_name()
    support.make_topics(settings, topic)
    registry = telemetry.metrics().registry

    def value(metric: str, **labels: str) -> float:
        return registry.get_sample_value(metric, {"lane": name, **labels}) or 0.0

    async with support.around(settings) as services:
        await support.publish(services, topic, range(50))
        step = ToyStep(topics=(topic,), batch=Batch(16, 0.01), in_flight=64)
        async with support.running(settings, step, services, name=name):
            await support.until_committed(settings, name, topic, seconds=30)
            assert registry.get_sample_value("clinstream_ready") == 1.0
            await support.until(lambda: value("clinstream_commits_total") > 0, seconds=5)
            assert value("clinstream_events_total") == 50
            assert value("clinstream_lag", topic=topic) == 0
        assert registry.get_sample_value("clinstream_ready") == 0.0


async def test_a_process_whose_work_hangs_ends_itself_to_be_started_anew(
    kafka_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watchdog: an event that never ends is found although its neighbours go on."""
    settings = support.at_home(kafka_settings, tmp_path)
    topic, name = support.fresh_name(), support.fresh_name()
    support.make_topics(settings, topic, partitions=1)

    class Hangs(ToyStep):
        async def __call__(self, batch: Sequence[Delivery]) -> Sequence[Sequence[Outcome]]:
            if number_of(batch[0]) == 3:
                await asyncio.Event().wait()
            return await super().__call__(batch)

    def ended(status: int) -> None:
        raise RuntimeError(f"ended with {status}")

    monkeypatch.setattr(os, "_exit", ended)
    monkeypatch.setattr(app, "Watchdog", partial(Watchdog, limit_s=3.0))
    monkeypatch.setattr(app, "DRAIN_S", 0.1)
    step = Hangs(topics=(topic,), batch=Batch(1, 0.0), in_flight=8)
    async with support.around(settings) as services:
        await support.publish(services, topic, range(6))
        with pytest.raises(RuntimeError, match="ended with 75"):
            async with support.running(settings, step, services, name=name) as found:
                await support.until(lambda: found.ended, seconds=30, what="the watchdog's verdict")
    assert support.committed(settings, name, topic) == {0: 3}
