"""A screening and its follow-up under any order of deliveries, repeats and withdrawals: each event ends for both."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.database import ResultFilter
from adapters.fakes.blobs import FakeBlobs
from adapters.fakes.clock import FakeClock
from consumers import record
from consumers.ask import Ask
from consumers.follow_up import FollowUps
from consumers.infer import Infer
from consumers.outcomes import Decide, Publish
from consumers.prepare import Prepare
from schemas import envelope, topics
from schemas.events import Base, ImageObserved
from tests.support import steps

FIRST, SECOND = "toy_screening", "toy_diagnosis"
# Red decides the screening, green the diagnosis; two contents of two objects, one of them from two senders.
PICTURES = [(uid, red, sender) for uid in ("one", "two") for red in (250, 20) for sender in ("A", "B")]
MOVES = st.one_of(
    st.tuples(st.just("observe"), st.integers(0, len(PICTURES) - 1)),
    st.tuples(st.just("infer"), st.integers(0, 30)),
    st.tuples(st.just("record"), st.integers(0, 30)),
    st.tuples(st.just("follow"), st.integers(0, 30)),
    st.tuples(st.just("withdraw"), st.integers(0, 30)),
)
STAGES = [(kind, 0) for kind in ("observe", "infer", "record", "follow")]


@dataclass
class World:
    """The steps and the log between them; any record may be delivered at any time and again."""

    decoders: ThreadPoolExecutor
    log: dict[str, list[Base]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger, self.store, clock = steps.FakeLedger(), FakeBlobs(), FakeClock(steps.NOW.timestamp() + 5)
        models = steps.chained_models()
        around: Any = {"store": self.store, "database": self.ledger, "clock": clock}
        ask = Ask(steps.FakeInference(), steps.FakeReleases(), clock)
        self.prepare = Prepare("routine", models, decoders=self.decoders, key=steps.KEY, **around)
        self.infer = Infer("routine", models, ask=ask, **around)
        self.record = record.Record(self.ledger, clock)
        self.follow = FollowUps(models, decoders=self.decoders, **around)

    async def deliver(self, step: Any, event: Base) -> None:
        ((*outcomes,),) = await step([steps.delivery(event, topic=step.topics[0])])
        for outcome in outcomes:
            if isinstance(outcome, Publish):
                self.log.setdefault(outcome.topic, []).append(outcome.event)
            else:
                assert isinstance(outcome, Decide), outcome
                await self.ledger.decide([outcome.outcome])

    async def move(self, kind: str, number: int) -> None:
        if kind == "observe":
            uid, red, sender = PICTURES[number]
            data = steps.ear_picture(red=red) + sender.encode()  # what follows the end of a PNG is not looked at
            event: ImageObserved = steps.ear_observed(data, uid)
            self.store.objects[event.blob.uri] = data
            self.log.setdefault("observed", []).append(event)
            await self.deliver(self.prepare, event)
        elif kind == "withdraw":
            if rows := await self.ledger.results(ResultFilter()):
                chosen = sorted(rows, key=lambda row: str(row.result.result_id))[number % len(rows)]
                await self.ledger.withdraw(chosen.result.result_id, by_whom="tester", why="because")
        else:
            topic, step = self.place(kind)
            if waiting := self.log.get(topic):
                await self.deliver(step, waiting[number % len(waiting)])

    def place(self, kind: str) -> tuple[str, Any]:
        return {
            "infer": (topics.WORK_ROUTINE, self.infer),
            "record": (topics.ANSWERS, self.record),
            "follow": (f"results.{FIRST}", self.follow),
        }[kind]

    async def drain(self) -> None:
        """Everything on the log once more, in order, and what the outbox holds."""
        for kind in ("infer", "record", "follow", "infer", "record"):
            topic, step = self.place(kind)
            if kind == "follow":
                self.relay()
            for event in list(self.log.get(topic, ())):
                await self.deliver(step, event)

    def relay(self) -> None:
        for row in self.ledger.outbox:
            _, event = envelope.read_any(row.headers, row.value, topics.RESULT_EVENTS)
            self.log.setdefault(row.topic, []).append(event)


@pytest.fixture(scope="module")
def decoders() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@given(st.integers(0, len(STAGES)), st.lists(MOVES, max_size=20))
@settings(max_examples=60, deadline=None)
def test_every_screened_event_ends_for_both_tasks_and_nothing_hangs_on_a_withdrawn_result(
    decoders: ThreadPoolExecutor, stages: int, moves: list[tuple[str, int]]
) -> None:
    """S4, OT3, OT17: from wherever along the way a first image stands."""
    asyncio.run(_play(World(decoders), [*STAGES[:stages], *moves]))


async def _play(world: World, moves: list[tuple[str, int]]) -> None:
    for kind, number in moves:
        await world.move(kind, number)
    await world.drain()
    fates = {key: row.fate for key, row in world.ledger.outcomes.items()}
    for (event, task), fate in fates.items():
        if task == FIRST and fate == "answered":
            assert (event, SECOND) in fates, "the second task is owed an outcome"
    rows = await world.ledger.results(ResultFilter(limit=1000))
    keys = [(row.result.object_id, row.result.answer.content, row.result.task) for row in rows]
    assert len(keys) == len(set(keys))
    first = {row.result.result_id: row for row in rows if row.result.task == FIRST}
    for row in rows:
        if row.result.task == SECOND:
            follows = row.result.answer.follows
            assert follows is not None
            asked_by = first[follows]
            assert asked_by.result.answer.label == "ill"
            assert row.withdrawn_at or not asked_by.withdrawn_at, "it hangs on a withdrawn result"
    before = dict(world.ledger.visible)
    await world.drain()
    assert {key: row.fate for key, row in world.ledger.outcomes.items()} == fates
    assert world.ledger.visible == before
