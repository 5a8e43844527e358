"""Faust commits past events in flight; the loop with its ledger does not."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from adapters.settings import Settings
from consumers.app import LedgerConsumer
from consumers.delivery import Delivery
from consumers.ledger import OffsetLedger
from consumers.outcomes import Batch, Outcome
from tests.support import loop as support
from tests.support.arrivals import ToyStep, number_of

TOPIC_PARTITION = TP("work.routine", 0)


def consumer(ledger: OffsetLedger) -> Any:
    """What `_new_offset` needs of a consumer: committed 2585, and 2586 to 2589 acknowledged before 2585."""
    return SimpleNamespace(
        _acked=defaultdict(list, {TOPIC_PARTITION: [2586, 2587, 2588, 2589]}),
        _acked_index=defaultdict(set, {TOPIC_PARTITION: {2586, 2587, 2588, 2589}}),
        _gap=defaultdict(list),
        _committed_offset={TOPIC_PARTITION: 2585},
        app=SimpleNamespace(ledger=ledger),
    )


def test_fausts_own_account_commits_past_the_event_in_flight() -> None:
    """Why the ledger exists: when this fails Faust has mended its account, and the ledger may go."""
    assert driver.Consumer._new_offset(consumer(OffsetLedger()), TOPIC_PARTITION) == 2590


def test_the_ledgers_account_stays_at_the_event_in_flight() -> None:
    """Delivery: nothing acknowledged is lost."""
    ledger = OffsetLedger()
    for offset in range(2585, 2590):
        ledger.took(TOPIC_PARTITION, offset)
    for offset in range(2586, 2590):
        ledger.done(TOPIC_PARTITION, offset)
    found = consumer(ledger)
    assert LedgerConsumer._new_offset(found, TOPIC_PARTITION) == 2585
    assert TOPIC_PARTITION not in found._acked
    assert TOPIC_PARTITION not in found._acked_index


class Holds(ToyStep):
    """Keeps one event until it is let go."""

    def __init__(self, topic: str, held: int) -> None:
        super().__init__(topics=(topic,), batch=Batch(1, 0.0), in_flight=64)
        self.held, self.gate = held, asyncio.Event()
        self.finished: set[int] = set()

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[Sequence[Outcome]]:
        """Finishes all but the held one."""
        if number_of(batch[0]) == self.held:
            await self.gate.wait()
        self.finished.add(number_of(batch[0]))
        return [[]]


async def test_what_is_committed_at_the_broker_never_passes_an_event_in_flight(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    """The whole way: streams without acks, the commit timer, the broker's own answer."""
    settings = support.at_home(kafka_settings, tmp_path)
    topic, name = support.fresh_name(), support.fresh_name()
    support.make_topics(settings, topic, partitions=1)
    step = Holds(topic, held=10)
    async with support.around(settings) as services, support.running(settings, step, services, name=name):
        await support.publish(services, topic, range(10))
        await support.until_committed(settings, name, topic, seconds=20)
        await support.publish(services, topic, range(10, 40))
        await support.until(lambda: len(step.finished) == 39, seconds=10, what="the neighbours' work")
        await asyncio.sleep(1.5)  # three commits could have happened
        assert support.committed(settings, name, topic) == {0: 10}
        step.gate.set()
        await support.until_committed(settings, name, topic, seconds=5)
    assert support.committed(settings, name, topic) == {0: 40}


async def test_an_orderly_stop_commits_what_was_finished_since_the_last_commit(
    kafka_settings: Settings, tmp_path: Path
) -> None:
    """SIGTERM leaves nothing to be done twice."""
    settings = support.at_home(kafka_settings, tmp_path)
    topic, name = support.fresh_name(), support.fresh_name()
    support.make_topics(settings, topic, partitions=1)
    step = ToyStep(topics=(topic,), batch=Batch(64, 0.5), in_flight=128)
    async with support.around(settings) as services:
        never = {"broker_commit_interval": 3600.0}
        async with support.running(settings, step, services, name=name, overrides=never) as found:
            await support.publish(services, topic, range(100))
            await support.until(lambda: found.lane.batcher.used > 0 or bool(step.seen), seconds=20)
    finished = sum(len(numbers) for numbers in step.seen)
    assert finished >= 1
    assert support.committed(settings, name, topic) == {0: finished}


async def test_an_orderly_stop_commits_also_where_an_earlier_commit_is_on_its_way(
    kafka_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust's last commit does nothing while another is on its way: that one knows of the first half alone."""
    settings = support.at_home(kafka_settings, tmp_path)
    topic, name = support.fresh_name(), support.fresh_name()
    support.make_topics(settings, topic, partitions=1)
    step = ToyStep(topics=(topic,), batch=Batch(1, 0.0), in_flight=64)
    begun, gate = asyncio.Event(), asyncio.Event()
    async with support.around(settings) as services:
        never = {"broker_commit_interval": 3600.0}
        async with support.running(settings, step, services, name=name, overrides=never) as found:
            await support.publish(services, topic, range(10))
            await support.until(lambda: sum(map(len, step.seen)) == 10 and not found.lane.batcher.used, seconds=20)
            member = found.app.consumer
            send, wait = member._commit, member.maybe_wait_for_commit_to_finish

            async def sends_late(offsets: Any) -> bool:
                begun.set()
                await gate.wait()
                return bool(await send(offsets))

            async def waited_for() -> bool:
                gate.set()
                return bool(await wait())

            monkeypatch.setattr(member, "_commit", sends_late)
            earlier = asyncio.ensure_future(member.commit())
            await asyncio.wait_for(begun.wait(), 5)
            await support.publish(services, topic, range(10, 20))
            await support.until(lambda: sum(map(len, step.seen)) == 20 and not found.lane.batcher.used, seconds=20)
            monkeypatch.setattr(member, "maybe_wait_for_commit_to_finish", waited_for)
        assert await earlier
    assert support.committed(settings, name, topic) == {0: 20}
