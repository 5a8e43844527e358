"""The one-step lane of vitals with the real model, Triton and PostgreSQL, called as the loop calls it."""

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

import triton_models
from adapters import bootstrap
from adapters.bootstrap import Services
from adapters.settings import Settings, TritonSettings
from adapters.triton import triton_name
from clinstream.benches import load
from consumers import pipelines
from consumers.outcomes import Decide, Publish
from consumers.steps import Step
from schemas.events import ResultPublished, VitalsObserved
from tests.support import served, steps

TASK = "icu_mortality"


@pytest.fixture
async def services(database: Settings, triton: TritonSettings, tmp_path: Path) -> AsyncIterator[Services]:
    settings = served.together(None, database, triton, tmp_path)
    await served.serve_models(settings)
    needs = pipelines.PIPELINES["signals"].needs - {"publisher"}
    async with bootstrap.services(settings, needs, cards=pipelines.cards()) as found:
        yield found


@pytest.fixture
def signals(services: Services) -> Step:
    return pipelines.PIPELINES["signals"].build(services.settings, services, "signals")


async def results(step: Step, events: list[VitalsObserved]) -> list[ResultPublished]:
    outcomes = await step([steps.delivery(event, offset=place) for place, event in enumerate(events)])
    published = [outcome for (outcome,) in outcomes if isinstance(outcome, Publish)]
    return [each.event for each in published if isinstance(each.event, ResultPublished)]


async def test_readings_are_answered_by_the_served_model_and_lie_in_postgresql(
    signals: Step, services: Services
) -> None:
    """GK4's model behind S3, S4: each reading has one visible result with the score that the model gives alone."""
    events = load.vitals(40)
    found = await results(signals, events)
    assert [result.object_id for result in found] == [event.object_id for event in events]
    model = triton_models.discover()[TASK]
    row = model.prepare(events[7].features)[np.newaxis]
    outputs = await services.inference.infer(
        triton_name(TASK, model.card.version), {model.card.inputs[0].name: row}, priority=2, deadline_s=10
    )
    assert found[7].answer.score == model.decode(outputs)[0].score
    rows = await services.database.outcomes_of([event.event_id for event in events])
    assert sorted((row.fate, row.task) for row in rows) == [("answered", TASK)] * 40


async def test_the_same_batch_again_publishes_the_same_results(signals: Step) -> None:
    events = load.vitals(5)
    first = await results(signals, events)
    again = await results(signals, events)
    assert again == first
    assert len({result.result_id for result in again}) == 5


async def test_a_reading_in_the_wrong_unit_is_refused_beside_its_neighbours(signals: Step) -> None:
    good, bad = load.vitals(2)
    wrong = steps.vitals("fahrenheit", {**good.features, "Temp_median": 99.5})
    outcomes = await signals([steps.delivery(event) for event in (good, wrong, bad)])
    (refused,) = outcomes[1]
    assert isinstance(refused, Decide)
    assert refused.outcome.fate == "refused"
    assert "Temp_median" in refused.outcome.reason
    assert "99" not in refused.outcome.reason
    assert [type(each[0]) for each in (outcomes[0], outcomes[2])] == [Publish, Publish]
