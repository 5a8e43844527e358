"""Answers into the ledger and winners to subscribers."""

from typing import Any

import msgspec

from adapters.fakes.clock import FakeClock
from consumers import record
from consumers.outcomes import Decide, Publish
from schemas import ids
from schemas.events import Answer, Origin, ResultPublished
from tests.support import steps


def answer(stay: str = "1", version: str = "1.0.0", **changes: Any) -> Answer:
    event = steps.vitals(stay)
    made = Answer(
        answer_id=ids.answer_id(event.event_id, "toy_image", version, "p.1"),
        event_id=event.event_id,
        object_id=event.object_id,
        content=event.content,
        subject_id=event.subject_id,
        task="toy_image",
        version=version,
        preprocessing_version="p.1",
        label="ill",
        score=0.9,
        threshold=0.5,
        probabilities={"well": 0.1, "ill": 0.9},
        abstained=False,
        arm="serving",
        release_epoch=1,
        batch_size=1,
        observed=Origin(topic="observed.dicom", partition=0, offset=3),
        origin=Origin(topic="work.routine", partition=0, offset=4),
        hops={"observed": 1.0, "prepared": 2.0, "inferred": 3.0},
        notice="for tests",
        use_status="for tests",
    )
    return msgspec.structs.replace(made, **changes)


async def run(ledger: steps.FakeLedger, *answers: Answer) -> list[list[Any]]:
    step = record.Record(ledger, FakeClock(10.0))
    return [list(o) for o in await step([steps.delivery(each, topic="answers") for each in answers])]


async def test_the_winner_is_published_to_its_task_with_the_answers_id() -> None:
    ((publish,),) = await run(steps.FakeLedger(), answer())
    assert isinstance(publish, Publish)
    assert (publish.topic, publish.id) == ("results.toy_image", str(answer().answer_id))
    assert isinstance(publish.event, ResultPublished)
    assert publish.event.answer.hops["recorded"] == 10.0


async def test_a_batch_is_one_transaction() -> None:
    ledger = steps.FakeLedger()
    outcomes = await run(ledger, answer("1"), answer("2"), answer("3"))
    assert ledger.batches == [3]
    assert [len(each) for each in outcomes] == [1, 1, 1]


async def test_an_answer_that_comes_again_publishes_the_stored_result_again() -> None:
    ledger = steps.FakeLedger()
    ((first,),) = await run(ledger, answer())
    ((again,),) = await run(ledger, answer())
    assert (again.id, again.event) == (first.id, first.event)


async def test_after_a_promotion_the_stored_winner_of_the_event_is_published_and_not_the_new_answer() -> None:
    """Rule 4: redelivered after the served version changed, one visible result."""
    ledger = steps.FakeLedger()
    ((first,),) = await run(ledger, answer())
    ((again,),) = await run(ledger, answer(version="2.0.0"))
    assert again.id == first.id
    assert again.event.answer.version == "1.0.0"


async def test_the_same_content_of_another_event_is_decided_as_a_sighting_of_the_winner() -> None:
    ledger = steps.FakeLedger()
    await run(ledger, answer())
    other = answer(event_id=answer("2").event_id, answer_id=answer("2").answer_id)
    ((decide,),) = await run(ledger, other)
    assert isinstance(decide, Decide)
    assert (decide.outcome.fate, decide.outcome.answer_id) == ("duplicate_of", answer().answer_id)


async def test_injected_data_goes_to_the_simulated_topic() -> None:
    ((publish,),) = await run(steps.FakeLedger(), answer(simulated=True))
    assert publish.topic == "simulated.toy_image"
