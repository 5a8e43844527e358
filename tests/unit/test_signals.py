"""The one-step lane of vitals, with a fake ledger and a fake model server."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from adapters.database import Key, Visible
from adapters.fakes.clock import FakeClock
from consumers.ask import Ask
from consumers.outcomes import DeadLetter, Decide, Publish
from consumers.signals import Signals
from schemas.errors import DatabaseUnavailable, Overloaded
from schemas.events import ResultPublished, VitalsObserved
from tests.support import steps


class Lane:
    """A signals step with everything around it."""

    def __init__(self, **changes: Any) -> None:
        self.ledger, self.triton, self.releases = steps.FakeLedger(), steps.FakeInference(), steps.FakeReleases()
        clock = FakeClock(steps.NOW.timestamp() + 5)
        models = {"toy_risk": steps.vitals_model(**changes)}
        ask = Ask(self.triton, self.releases, clock)
        self.step = Signals(models, database=self.ledger, ask=ask, clock=clock)

    async def run(self, *events: VitalsObserved) -> list[list[Any]]:
        batch = [steps.delivery(event, offset=place) for place, event in enumerate(events)]
        return [list(outcomes) for outcomes in await self.step(batch)]


async def test_a_reading_is_recorded_and_its_result_published_with_the_answers_id() -> None:
    lane = Lane()
    event = steps.vitals()
    ((publish,),) = await lane.run(event)
    result = publish.event
    assert isinstance(result, ResultPublished)
    assert publish.topic == "results.toy_risk"
    assert publish.key == event.subject_id.encode()
    assert publish.id == str(result.result_id) == str(result.answer.answer_id)
    assert (result.answer.label, result.answer.version, result.answer.release_epoch) == ("ill", "1.0.0", 7)
    assert result.answer.origin == result.answer.observed
    assert list(result.answer.hops) == ["observed", "prepared", "inferred", "recorded"]


async def test_injected_data_is_published_on_the_simulated_topic_only() -> None:
    ((publish,),) = await Lane().run(steps.vitals(simulated=True))
    assert publish.topic == "simulated.toy_risk"
    assert publish.extensions["simulated"] == "true"


async def test_a_batch_is_one_request_for_each_version_and_full_batch() -> None:
    lane = Lane()
    events = [steps.vitals(str(stay)) for stay in range(6)]
    lane.releases.versions = {events[5].subject_id: "2.0.0"}
    outcomes = await lane.run(*events)
    assert sorted(lane.triton.asked) == [("toy_risk-1_0_0", 1, 2), ("toy_risk-1_0_0", 4, 2), ("toy_risk-2_0_0", 1, 2)]
    assert lane.ledger.batches == [6]
    versions = [outcome[0].event.answer.version for outcome in outcomes]
    assert versions == ["1.0.0"] * 5 + ["2.0.0"]
    assert [o[0].event.subject_id for o in outcomes] == [e.subject_id for e in events]


async def test_an_implausible_reading_is_refused_with_its_reason_and_its_neighbours_are_answered() -> None:
    lane = Lane()
    first, refused, last = await lane.run(
        steps.vitals("1"), steps.vitals("2", {"risk": 7.0}), steps.vitals("3", {"risk": 0.1})
    )
    assert isinstance(first[0], Publish)
    assert isinstance(last[0], Publish)
    (decide,) = refused
    assert isinstance(decide, Decide)
    assert (decide.outcome.fate, decide.outcome.task) == ("refused", "toy_risk")
    assert decide.outcome.reason == "risk is outside its plausible range"


async def test_a_reading_that_the_model_cannot_read_goes_aside_as_unprocessable() -> None:
    ((letter,),) = await Lane().run(steps.vitals("1", {"broken": 1.0}))
    assert letter == DeadLetter("unprocessable", "the features cannot be read", "Unprocessable", task="toy_risk")


async def test_a_redelivery_publishes_the_stored_result_again_without_asking_the_model() -> None:
    """Rule 4: between commit and publish the process may have died."""
    lane = Lane()
    event = steps.vitals()
    ((first,),) = await lane.run(event)
    lane.releases.versions = {event.subject_id: "2.0.0"}
    ((again,),) = await lane.run(event)
    assert (again.id, again.event) == (first.id, first.event)
    assert len(lane.triton.asked) == 1


async def test_a_redelivery_does_not_publish_what_was_withdrawn_since(monkeypatch: pytest.MonkeyPatch) -> None:
    lane = Lane()
    event = steps.vitals()
    await lane.run(event)
    visible = lane.ledger.already_visible

    async def withdrawn(keys: Sequence[Key]) -> dict[Key, Visible]:
        return {key: replace(found, withdrawn_at=steps.NOW) for key, found in (await visible(keys)).items()}

    monkeypatch.setattr(lane.ledger, "already_visible", withdrawn)
    assert await lane.run(event) == [[]]


async def test_the_same_content_from_another_event_is_a_sighting() -> None:
    lane = Lane()
    event = steps.vitals()
    ((first,),) = await lane.run(event)
    other = steps.vitals(event_id=steps.vitals("other").event_id)
    ((decide,),) = await lane.run(other)
    assert isinstance(decide, Decide)
    assert (decide.outcome.fate, decide.outcome.answer_id) == ("duplicate_of", first.event.result_id)
    assert len(lane.triton.asked) == 1


async def test_two_events_of_one_content_in_one_batch_give_one_visible_result() -> None:
    lane = Lane()
    twin = steps.vitals(event_id=steps.vitals("other").event_id)
    (first,), (second,) = await lane.run(steps.vitals(), twin)
    assert isinstance(first, Publish)
    assert isinstance(second, Decide)
    assert second.outcome.fate == "duplicate_of"
    assert len(lane.ledger.visible) == 1


async def test_an_outage_is_raised_and_nothing_is_decided() -> None:
    lane = Lane()
    lane.triton.error = Overloaded("busy")
    with pytest.raises(Overloaded):
        await lane.run(steps.vitals())
    lane.ledger.down = True
    with pytest.raises(DatabaseUnavailable):
        await lane.run(steps.vitals())
    assert not lane.ledger.visible


async def test_without_a_model_for_vitals_a_reading_is_not_applicable() -> None:
    lane = Lane(consumes="image")
    ((decide,),) = await lane.run(steps.vitals())
    assert (decide.outcome.fate, decide.outcome.task) == ("not_applicable", "*")
