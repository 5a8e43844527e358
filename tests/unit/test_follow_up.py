"""A screening's result becomes work for the diagnosis, or an outcome that says why not; with fakes around the step."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from adapters.fakes.blobs import FakeBlobs
from adapters.fakes.clock import FakeClock
from consumers import delivery
from consumers.follow_up import FollowUps
from consumers.identity import identity_of
from consumers.outcomes import DeadLetter, Decide, Publish
from schemas import topics
from schemas.errors import DatabaseUnavailable, OutOfRange, StoreUnavailable
from schemas.events import Answer, Base, ImageObserved, ImagePrepared, ResultAmended, ResultPublished, ResultWithdrawn
from tests.support import steps
from tests.support.answers import answer

FIRST, SECOND = "toy_screening", "toy_diagnosis"


@pytest.fixture
def decoders() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


class Chain:
    """The step with a store and a ledger; `screened` makes an image with its visible result."""

    def __init__(self, decoders: ThreadPoolExecutor, models: Any = None) -> None:
        self.ledger, self.store = steps.FakeLedger(), FakeBlobs()
        self.models = models or steps.chained_models()
        clock = FakeClock(steps.NOW.timestamp() + 5)
        self.step = FollowUps(self.models, store=self.store, database=self.ledger, decoders=decoders, clock=clock)

    async def screened(self, label: str = "ill", data: bytes = b"", uid: str = "upload", **changes: Any) -> Any:
        data = data or steps.ear_picture(green=200)
        event = steps.ear_observed(data, uid)
        self.store.objects[event.blob.uri] = data
        await self.ledger.note_images([identity_of(event)])
        return await self.answered(event, label, **changes)

    async def answered(self, event: ImageObserved, label: str, **changes: Any) -> ResultPublished:
        values = {"content": content_of(self.store.objects[event.blob.uri]), "event_id": event.event_id, **changes}
        said = answer(event.object_id, task=FIRST, label=label, subject_id=event.subject_id, **values)
        (row,) = await self.ledger.record([said])
        assert row.result is not None
        return row.result

    async def run(self, *events: Base, **how: Any) -> list[list[Any]]:
        batch = [steps.delivery(event, topic=f"results.{FIRST}", **how) for event in events]
        return [list(outcomes) for outcomes in await self.step(batch)]


def content_of(data: bytes) -> str:
    from adapters import imaging

    return imaging.pixel_hash(imaging.decode_picture(data))


def test_it_reads_the_results_of_first_tasks_only(decoders: ThreadPoolExecutor) -> None:
    assert Chain(decoders).step.topics == (f"results.{FIRST}", f"simulated.{FIRST}")


async def test_a_result_that_asks_becomes_work_for_the_second_task(decoders: ThreadPoolExecutor) -> None:
    """OT3."""
    chain = Chain(decoders)
    result = await chain.screened()
    ((publish,),) = await chain.run(result)
    assert isinstance(publish, Publish)
    prepared: Any = publish.event
    assert (publish.topic, prepared.task) == (topics.WORK_ROUTINE, SECOND)
    assert publish.id == f"{result.answer.event_id}/{SECOND}"
    assert publish.key == chain.ledger.images[result.answer.event_id].study_id.encode()
    assert prepared.follows == result.result_id
    assert (prepared.event_id, prepared.content) == (result.answer.event_id, result.answer.content)
    assert prepared.observed == result.answer.observed
    assert chain.store.objects[prepared.tensor.uri][0] == 200


async def test_urgent_stays_urgent_and_simulated_stays_simulated(decoders: ThreadPoolExecutor) -> None:
    """CC14, CC21."""
    chain = Chain(decoders)
    ((publish,),) = await chain.run(await chain.screened(priority="stat", simulated=True))
    assert (publish.topic, publish.event.priority, publish.event.simulated) == (topics.WORK_STAT, "stat", True)
    assert publish.extensions["simulated"] == "true"


async def test_another_label_ends_the_event_for_the_second_task_in_plain_words(decoders: ThreadPoolExecutor) -> None:
    """OT3: whoever waits for the diagnosis learns why there is none."""
    chain = Chain(decoders)
    result = await chain.screened(label="none_of_trained_conditions")
    ((decide,),) = await chain.run(result)
    assert isinstance(decide, Decide)
    outcome = decide.outcome
    assert (outcome.event_id, outcome.task, outcome.fate) == (result.answer.event_id, SECOND, "not_applicable")
    assert outcome.reason == "the screening answered none of trained conditions"


async def test_an_answer_that_abstains_is_followed_when_its_label_says_so(decoders: ThreadPoolExecutor) -> None:
    chain = Chain(decoders)
    ((publish,),) = await chain.run(await chain.screened(abstained=True))
    assert isinstance(publish, Publish)


async def test_a_result_read_five_times_is_the_same_work(decoders: ThreadPoolExecutor) -> None:
    chain = Chain(decoders)
    result = await chain.screened()
    outcomes = await chain.run(*[result] * 5)
    assert len({(each.id, each.event.tensor.sha256) for (each,) in outcomes}) == 1


async def test_what_was_withdrawn_is_not_followed(decoders: ThreadPoolExecutor) -> None:
    chain = Chain(decoders)
    result = await chain.screened()
    await chain.ledger.withdraw(result.result_id, by_whom="tester", why="because")
    ((decide,),) = await chain.run(result)
    assert (decide.outcome.fate, decide.outcome.reason) == ("not_applicable", "the screening result was withdrawn")


async def test_a_withdrawal_before_the_result_was_seen_ends_the_event(decoders: ThreadPoolExecutor) -> None:
    """Committed, never published, withdrawn: nothing else would tell the second task."""
    chain = Chain(decoders)
    result = await chain.screened()
    done = await chain.ledger.withdraw(result.result_id, by_whom="tester", why="because")
    event = withdrawal(result)
    ((decide,),) = await chain.run(event)
    assert (decide.outcome.event_id, decide.outcome.task) == (result.answer.event_id, SECOND)
    await chain.ledger.decide([decide.outcome])
    assert await chain.run(event) == [[]], "and says so once"
    assert done.followed == []


def withdrawal(result: ResultPublished) -> ResultWithdrawn:
    return ResultWithdrawn(
        result_id=result.result_id,
        object_id=result.object_id,
        subject_id=result.subject_id,
        task=result.task,
        revision=result.revision,
        reason="because",
    )


async def test_an_amendment_asks_nothing(decoders: ThreadPoolExecutor) -> None:
    chain = Chain(decoders)
    result = await chain.screened()
    amended = ResultAmended(
        result_id=result.result_id,
        object_id=result.object_id,
        subject_id=result.subject_id,
        task=FIRST,
        revision=1,
        changed={"assessment": "rejected"},
        reason="assessed",
    )
    assert await chain.run(amended) == [[]]


async def test_an_older_revision_is_superseded_and_the_newer_one_is_followed(decoders: ThreadPoolExecutor) -> None:
    chain = Chain(decoders)
    old = await chain.screened(data=steps.ear_picture(red=251))
    new = await chain.screened(data=steps.ear_picture(red=252))
    (first,), (second,) = await chain.run(old, new)
    assert (first.outcome.fate, first.outcome.task) == ("superseded", SECOND)
    assert isinstance(second, Publish)
    assert isinstance(second.event, ImagePrepared)
    assert second.event.event_id == new.answer.event_id


@pytest.mark.parametrize("fault", ["missing", "damaged", "unknown", "cut"])
async def test_an_image_that_cannot_be_prepared_puts_the_second_task_aside_alone(
    decoders: ThreadPoolExecutor, fault: str
) -> None:
    """OT17: the screening's result stays."""
    chain = Chain(decoders)
    good = await chain.screened(uid="good")
    bad = await chain.screened(uid="bad", data=steps.ear_picture(red=240))
    image = chain.ledger.images[bad.answer.event_id]
    if fault == "missing":
        del chain.store.objects[image.blob_uri]
    if fault == "damaged":
        chain.store.objects[image.blob_uri] = steps.ear_picture(red=1)
    if fault == "unknown":
        del chain.ledger.images[bad.answer.event_id]
    if fault == "cut":
        bad = msgspec.structs.replace(bad, answer=msgspec.structs.replace(bad.answer, content="of other pixels"))
    (publish,), (letter,) = await chain.run(good, bad)
    assert isinstance(publish, Publish)
    assert isinstance(letter, DeadLetter)
    assert (letter.kind, letter.task) == ("failed", SECOND)
    assert await chain.ledger.result(bad.result_id) is not None


async def test_what_the_second_model_cannot_take_is_refused_for_it(decoders: ThreadPoolExecutor) -> None:
    from dataclasses import replace

    def prepare(_image: Any) -> Any:
        raise OutOfRange("the photograph shows nothing")

    models = steps.chained_models()
    models[SECOND] = replace(models[SECOND], prepare=prepare)
    chain = Chain(decoders, models)
    ((decide,),) = await chain.run(await chain.screened())
    assert (decide.outcome.task, decide.outcome.fate) == (SECOND, "refused")
    assert decide.outcome.reason == "the photograph shows nothing"


async def test_an_unexpected_fault_of_the_second_model_is_the_second_tasks_alone(decoders: ThreadPoolExecutor) -> None:
    from dataclasses import replace

    def prepare(_image: Any) -> Any:
        raise ZeroDivisionError

    models = steps.chained_models()
    models[SECOND] = replace(models[SECOND], prepare=prepare)
    chain = Chain(decoders, models)
    ((letter,),) = await chain.run(await chain.screened())
    assert (letter.kind, letter.task, letter.error_class) == ("failed", SECOND, "ZeroDivisionError")


@pytest.mark.parametrize(("away", "error"), [("store", StoreUnavailable), ("ledger", DatabaseUnavailable)])
async def test_an_outage_is_raised_and_is_no_results_fault(
    decoders: ThreadPoolExecutor, away: str, error: type[Exception]
) -> None:
    chain = Chain(decoders)
    result = await chain.screened()
    getattr(chain, away).down = True
    with pytest.raises(error):
        await chain.run(result)


async def test_a_dead_letter_of_a_result_names_the_observed_event_and_its_place(decoders: ThreadPoolExecutor) -> None:
    """A replay begins where the image entered the log."""
    result = await Chain(decoders).screened()
    read = steps.delivery(result, topic=f"results.{FIRST}")
    arrival: Any = read
    said: Answer = result.answer
    assert delivery.event_id(arrival, read) == said.event_id
    assert delivery.observed(arrival, read) == said.observed
