"""What becomes of an event between the log and the ledger, whatever the step does."""

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from adapters import telemetry
from adapters.fakes.clock import FakeClock
from adapters.fakes.publisher import FakePublisher
from consumers import brake
from consumers.delivery import Delivery
from consumers.lane import Lane
from consumers.ledger import OffsetLedger
from consumers.outcomes import Batch, DeadLetter, Decide, Outcome, Publish
from consumers.settle import Settler
from consumers.watchdog import Watchdog
from schemas import topics
from schemas.errors import Overloaded, ServerDown, StepFailed, Unprocessable
from schemas.events import OutcomeDecided, VitalsObserved
from tests.support.arrivals import TOPIC, Answer, Arrived, Kept, ToyStep, arrival, number_of, poison, vitals
from tests.unit.test_batching import turns

PLACE = (TOPIC, 0)


@pytest.fixture(autouse=True)
def _logs_as_in_service() -> None:
    # structlog's default would draw the locals of every retried error, 40 s for one test.
    telemetry.configure_logging("tests")


class Scene:
    """A lane with everything around it."""

    def __init__(self, home: Path, step: ToyStep) -> None:
        self.clock, self.publisher, self.rows = FakeClock(), FakePublisher(), Kept()
        self.ledger, self.step, self.home = OffsetLedger(), step, home
        self.lane = Lane(
            "toy",
            step,
            ledger=self.ledger,
            settler=Settler("toy", self.rows, self.publisher, self.clock),
            watchdog=Watchdog(self.clock),
            clock=self.clock,
            home=home,
            chance=lambda: 1.0,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def feed(self, *arrivals: Arrived) -> asyncio.Task[None]:
        """Hands them to the lane one after the other, as the stream does."""
        await self.publisher.start()

        async def stream() -> None:
            for each in arrivals:
                await self.lane.take(each)

        task = asyncio.ensure_future(stream())
        self._tasks.append(task)
        await turns()
        await turns()
        return task

    async def later(self, seconds: float) -> None:
        """Time passes."""
        await self.clock.advance(seconds)
        await turns()

    def dead(self, kind: str = "failed") -> list[str]:
        """Reasons of the dead letters of a kind."""
        found = self.publisher.topics[f"dead.{kind}"]
        return [dict(message.headers)["dead_reason"].decode() for message in found]

    @property
    def position(self) -> int | None:
        """What would be committed."""
        return self.ledger.position(PLACE)

    async def close(self) -> None:
        """Ends what still runs."""
        for task in self._tasks:
            task.cancel()
        await self.lane.batcher.cancel()


@pytest.fixture
def scene(tmp_path: Path) -> Callable[..., Scene]:
    """Makes a scene for a step."""
    return lambda **step: Scene(tmp_path, ToyStep(**step))


def raises(error: Exception, numbers: Sequence[int]) -> Answer:
    """Raises `error` for batches that hold one of `numbers`."""

    def answer(batch: Sequence[Delivery]) -> Sequence[Sequence[Outcome]]:
        if any(number_of(each) in numbers for each in batch):
            raise error
        return [[] for _ in batch]

    return answer


async def test_an_event_is_done_only_after_its_outcome_is_durable(scene: Callable[..., Scene]) -> None:
    found = scene(answer=lambda batch: [[Publish("results.toy", b"k", vitals(0), "r", "sub-0")] for _ in batch])
    found.publisher.away = True
    with pytest.raises(Exception, match="no Kafka"):
        await found.publisher.start()
    found.publisher.away = False
    await found.publisher.start()
    found.publisher.away = True

    await found.lane.take(arrival(0))
    await turns()
    assert found.position == 0
    found.publisher.away = False
    await turns()
    await turns()
    assert found.position == 1
    assert len(found.publisher.topics["results.toy"]) == 1


async def test_poison_goes_aside_with_its_reason_and_its_neighbours_are_worked_on(scene: Callable[..., Scene]) -> None:
    found = scene(batch=Batch(3, 0.0))
    await found.feed(arrival(0), poison(1), arrival(2))
    assert found.step.seen == [[0, 2]]
    assert found.dead("unprocessable") == ["the value is not JSON"]
    assert found.position == 3


async def test_an_onlooker_leaves_poison_to_the_group_that_answers_for_the_topic(tmp_path: Path) -> None:
    """S2: one dead letter for an event, however many groups read its topic."""

    class Watching(ToyStep):
        onlooker = True
        leaves_poison = True

    found = Scene(tmp_path, Watching(batch=Batch(3, 0.0)))
    await found.feed(arrival(0), poison(1), arrival(2))
    assert found.step.seen == [[0, 2]]
    assert found.position == 3
    assert found.publisher.topics == {}


async def test_an_onlooker_puts_poison_aside_where_no_other_group_reads(tmp_path: Path) -> None:
    """S2: nothing unreadable is passed over in silence."""

    class Watching(ToyStep):
        onlooker = True
        leaves_poison = False

    found = Scene(tmp_path, Watching(batch=Batch(2, 0.0)))
    await found.feed(poison(0), arrival(1))
    assert found.position == 2
    assert found.dead("unprocessable") == ["the value is not JSON"]


async def test_a_batch_that_fails_is_tried_event_by_event(scene: Callable[..., Scene]) -> None:
    found = scene(batch=Batch(3, 0.0), answer=raises(StepFailed("no such tensor"), [1]))
    await found.feed(arrival(0), arrival(1), arrival(2))
    assert found.step.seen == [[0, 1, 2], [0], [1], [2]]
    assert found.dead() == ["no such tensor"]
    assert found.position == 3


async def test_rejected_input_is_unprocessable(scene: Callable[..., Scene]) -> None:
    found = scene(answer=raises(Unprocessable("truncated"), [0]))
    await found.feed(arrival(0))
    assert found.dead("unprocessable") == ["truncated"]
    assert found.dead() == []


async def test_an_unexpected_error_is_tried_three_times_and_its_text_is_not_kept(scene: Callable[..., Scene]) -> None:
    found = scene(answer=raises(ValueError("DOE^JOHN"), [0]))
    await found.feed(arrival(0), arrival(1))
    assert found.position == 0
    await found.later(5)
    assert found.step.seen.count([0]) == 3
    (reason,) = found.dead()
    assert "ValueError" in reason
    assert "DOE" not in reason
    assert found.position == 2


async def test_a_step_that_answers_for_too_few_events_loses_none(scene: Callable[..., Scene]) -> None:
    found = scene(batch=Batch(2, 0.0), answer=lambda batch: [])
    await found.feed(arrival(0), arrival(1))
    await found.later(5)
    assert len(found.dead()) == 2
    assert found.position == 2


async def test_an_outage_parks_the_lane_and_is_nobodys_fault(scene: Callable[..., Scene]) -> None:
    found = scene(in_flight=4)
    found.step.answer = raises(ServerDown("away"), range(100))
    stream = await found.feed(*(arrival(number) for number in range(12)))
    await found.later(300)
    assert found.lane.parking.parked
    assert found.lane.parking.reason == "triton"
    assert not stream.done()
    assert found.lane.batcher.used <= 4
    assert found.position == 0
    assert found.lane.watchdog.age_s() <= 1.0
    found.step.answer = lambda batch: [[] for _ in batch]
    await found.later(2)
    await found.later(2)
    assert stream.done()
    assert found.position == 12
    assert found.publisher.topics == {}


async def test_an_overloaded_server_is_asked_again_with_growing_pauses(scene: Callable[..., Scene]) -> None:
    found = scene(answer=raises(Overloaded("queue full"), [0]))
    await found.feed(arrival(0))
    times = [found.clock.time()]
    for _ in range(3):
        before = len(found.step.seen)
        while len(found.step.seen) == before:
            await found.later(0.05)
        times.append(found.clock.time())
    pauses = [round(after - before, 2) for before, after in pairwise(times)]
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 0.4
    assert not found.lane.parking.parked
    await found.close()


async def test_a_database_that_is_away_parks_the_settlement_and_letters_are_not_written_twice(
    scene: Callable[..., Scene],
) -> None:
    found = scene(answer=lambda batch: [[DeadLetter("failed", "gave up", "StepFailed")] for _ in batch])
    found.rows.away = True
    await found.feed(arrival(0))
    await found.later(20)
    assert found.lane.parking.reason == "database"
    assert found.position == 0
    found.rows.away = False
    await found.later(2)
    assert found.position == 1
    assert found.dead() == ["gave up"]


async def test_one_outcome_that_cannot_be_written_goes_aside_alone(scene: Callable[..., Scene]) -> None:
    def too_large(batch: Sequence[Delivery]) -> Sequence[Sequence[Outcome]]:
        big = {f"x{n}": 1.0 for n in range(120_000)}
        return [
            [Publish("results.toy", b"k", vitals(0), "r", "s", {"pad": "x" * 10})]
            if number_of(each) != 1
            else [Publish("results.toy", b"k", _with_features(big), "r", "s")]
            for each in batch
        ]

    found = scene(batch=Batch(3, 0.0), answer=too_large)
    await found.feed(arrival(0), arrival(1), arrival(2))
    await found.later(0)
    await found.later(0)
    assert found.position == 3
    (reason,) = found.dead()
    assert "at most" in reason
    assert len(found.publisher.topics["results.toy"]) == 2


async def test_a_row_that_the_database_refuses_goes_aside_and_never_blocks_the_lane(
    scene: Callable[..., Scene],
) -> None:
    outcome = OutcomeDecided(event_id=vitals(0).event_id, task="toy", fate="refused", reason="r")
    found = scene(answer=lambda batch: [[Decide(outcome)] for _ in batch])
    found.rows.refuses = ValueError("a fault of ours")
    await found.feed(arrival(0))
    await found.later(10)
    assert found.dead() == ["its outcome could not be written"]
    assert found.lane.parking.reason == "settling"
    found.rows.refuses = None
    await found.later(2)
    assert found.position == 1


async def test_another_lanes_event_is_passed_without_being_decoded(tmp_path: Path) -> None:
    class Routine(ToyStep):
        def accepts_headers(self, headers: Sequence[tuple[str, bytes]]) -> bool:
            return dict(headers).get("ce_priority") == b"routine"

    found = Scene(tmp_path, Routine())
    unread = Arrived(TOPIC, 0, 0, b"k", b"<html>", [("ce_priority", b"stat")])
    await found.feed(unread, arrival(1), arrival(2, priority="stat"))
    assert found.step.seen == [[1]]
    assert found.position == 3
    assert found.publisher.topics == {}


async def test_the_brake_keeps_failing_events_in_flight_until_resume(scene: Callable[..., Scene]) -> None:
    found = scene(answer=raises(StepFailed("bad release"), range(1000)))
    watching = asyncio.ensure_future(found.lane.brake.watch())
    stream = await found.feed(*(arrival(number) for number in range(60)))
    await found.later(30)
    assert brake.braked_lanes(found.home) == ["toy"]
    letters = len(found.dead())
    assert letters <= 20
    assert not stream.done()
    assert found.position == letters
    found.step.answer = lambda batch: [[] for _ in batch]
    assert brake.release(found.home, "toy")
    await found.later(2)
    await found.later(2)
    assert stream.done()
    assert found.position == 60
    assert len(found.dead()) == letters
    watching.cancel()


async def test_a_lane_that_starts_braked_works_on_nothing(tmp_path: Path) -> None:
    place = brake.folder(tmp_path)
    place.mkdir(parents=True)
    (place / "toy").write_text("{}")
    found = Scene(tmp_path, ToyStep())
    await found.feed(arrival(0), arrival(1))
    await found.later(10)
    assert found.step.seen == []
    assert found.position == 0
    await found.close()


async def test_a_drain_finishes_what_is_in_flight_and_takes_nothing_more(scene: Callable[..., Scene]) -> None:
    found = scene(batch=Batch(8, 60.0))
    await found.feed(arrival(0), arrival(1))
    draining = asyncio.ensure_future(found.lane.drain(10))
    await turns()
    late = await found.feed(arrival(2))
    await found.later(1)
    assert await draining
    assert found.step.seen == [[0, 1]]
    assert not late.done()
    assert found.position == 2
    await found.close()


async def test_a_drain_does_not_wait_for_a_parked_lane(scene: Callable[..., Scene]) -> None:
    found = scene(answer=raises(ServerDown("away"), [0]))
    await found.feed(arrival(0))
    assert not await found.lane.drain(10)
    assert found.position == 0


def _with_features(features: dict[str, float]) -> VitalsObserved:
    return msgspec.structs.replace(vitals(1), features=dict(features))


def test_the_dead_letter_topics_are_those_of_the_table() -> None:
    assert {topics.DEAD_FAILED, topics.DEAD_UNPROCESSABLE} == {"dead.failed", "dead.unprocessable"}
