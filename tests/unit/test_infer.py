"""One lane of image inference, with a fake ledger, store and model server."""

from typing import Any
from uuid import UUID

import numpy as np
import pytest

from adapters.fakes.blobs import FakeBlobs
from adapters.fakes.clock import FakeClock
from consumers.ask import Ask
from consumers.infer import Infer
from consumers.outcomes import DeadLetter, Decide, Publish
from schemas.errors import InvalidForModel, ServerDown, StoreUnavailable
from schemas.events import Answer, ImagePrepared
from tests.support import steps


class Lane:
    """An infer step with everything around it; `tensor` makes an event whose tensor is stored."""

    def __init__(self, lane: Any = "routine") -> None:
        self.ledger, self.triton, self.store = steps.FakeLedger(), steps.FakeInference(), FakeBlobs()
        self.releases = steps.FakeReleases()
        clock = FakeClock(steps.NOW.timestamp() + 5)
        ask = Ask(self.triton, self.releases, clock)
        models = {"toy_image": steps.image_model()}
        self.step = Infer(lane, models, store=self.store, database=self.ledger, ask=ask, clock=clock)

    def prepared(self, first: int, uid: str = "1.2.3", **changes: Any) -> ImagePrepared:
        tensor = np.array([first, 1, 2, 3], dtype=np.uint8)
        event = steps.image_prepared(tensor, uid, **changes)
        self.store.objects[event.tensor.uri] = tensor.tobytes()
        return event

    async def run(self, *events: ImagePrepared, attempt: int = 1) -> list[list[Any]]:
        batch = [
            steps.delivery(event, topic="work.routine", offset=place, attempt=attempt)
            for place, event in enumerate(events)
        ]
        return [list(outcomes) for outcomes in await self.step(batch)]

    async def record(self, answer: Answer) -> None:
        await self.ledger.record([answer])


async def test_a_tensor_is_answered_on_the_answers_topic_with_its_lineage() -> None:
    lane = Lane()
    event = lane.prepared(250)
    ((publish,),) = await lane.run(event)
    assert isinstance(publish, Publish)
    answer = publish.event
    assert isinstance(answer, Answer)
    assert (publish.topic, publish.key, publish.id) == ("answers", event.subject_id.encode(), str(answer.answer_id))
    assert (answer.label, answer.task, answer.version) == ("ill", "toy_image", "1.0.0")
    assert answer.observed == event.observed
    assert answer.origin.topic == "work.routine"
    assert list(answer.hops) == ["observed", "prepared", "inferred"]


async def test_a_batch_is_put_before_triton_in_requests_of_at_most_the_cards_size() -> None:
    lane = Lane()
    outcomes = await lane.run(*(lane.prepared(value, f"1.{value}") for value in range(6)))
    assert sorted(rows for _, rows, _ in lane.triton.asked) == [2, 4]
    assert [round(outcome[0].event.score * 255) for outcome in outcomes] == list(range(6))
    assert [outcome[0].event.batch_size for outcome in outcomes] == [4, 4, 4, 4, 2, 2]


async def test_the_stat_lane_asks_the_stat_instance_with_the_first_priority() -> None:
    """CC14: urgent images have an instance of their own."""
    stat, routine = Lane("stat"), Lane("routine")
    await stat.run(stat.prepared(1, priority="stat"))
    await routine.run(routine.prepared(1))
    assert stat.triton.asked == [("toy_image-1_0_0-stat", 1, 1)]
    assert routine.triton.asked == [("toy_image-1_0_0", 1, 2)]


async def test_a_redelivery_of_what_is_visible_asks_nothing_and_leaves_nothing_to_do() -> None:
    lane = Lane()
    event = lane.prepared(250)
    ((publish,),) = await lane.run(event)
    await lane.record(publish.event)
    assert await lane.run(event) == [[]]
    assert len(lane.triton.asked) == 1


async def test_a_replayed_event_is_answered_again_so_that_its_result_goes_out_once_more() -> None:
    """A follow-up that was put aside gets its second chance by a replay of the image."""
    lane = Lane()
    event = lane.prepared(250)
    ((publish,),) = await lane.run(event)
    await lane.record(publish.event)
    ((again,),) = await lane.run(event, attempt=2)
    assert again.id == publish.id


async def test_the_answer_keeps_the_lane_and_the_result_that_asked() -> None:
    lane = Lane("stat")
    event = lane.prepared(250, priority="stat", follows=UUID(int=7))
    ((publish,),) = await lane.run(event)
    assert (publish.event.priority, publish.event.follows) == ("stat", UUID(int=7))


async def test_the_same_pixels_from_another_event_are_a_sighting_and_cost_no_inference() -> None:
    lane = Lane()
    event = lane.prepared(250)
    ((publish,),) = await lane.run(event)
    await lane.record(publish.event)
    other = lane.prepared(250, event_id=lane.prepared(9, "9.9").event_id)
    ((decide,),) = await lane.run(other)
    assert isinstance(decide, Decide)
    assert (decide.outcome.fate, decide.outcome.answer_id) == ("duplicate_of", publish.event.answer_id)
    assert len(lane.triton.asked) == 1


@pytest.mark.parametrize("change", ["missing", "damaged", "preprocessing", "task"])
async def test_an_event_that_cannot_be_inferred_fails_alone(change: str) -> None:
    lane = Lane()
    changes = {"preprocessing": {"preprocessing_version": "old.0"}, "task": {"task": "forgotten"}}.get(change, {})
    good, bad = lane.prepared(1, "1.1"), lane.prepared(2, "1.2", **changes)
    if change == "missing":
        del lane.store.objects[bad.tensor.uri]
    if change == "damaged":
        lane.store.objects[bad.tensor.uri] = b"xxxx"
    (publish,), (letter,) = await lane.run(good, bad)
    assert isinstance(publish, Publish)
    assert isinstance(letter, DeadLetter)
    assert letter.kind == "failed"
    assert letter.reason


@pytest.mark.parametrize("error", [ServerDown("down"), InvalidForModel("this input is refused")])
async def test_what_triton_says_about_a_batch_is_raised_for_the_loop_to_judge(error: Exception) -> None:
    lane = Lane()
    lane.triton.error = error
    with pytest.raises(type(error)):
        await lane.run(*(lane.prepared(value, f"1.{value}") for value in range(6)))


async def test_the_store_being_away_is_raised_and_is_no_events_fault() -> None:
    lane = Lane()
    event = lane.prepared(1)
    lane.store.down = True
    with pytest.raises(StoreUnavailable):
        await lane.run(event)
