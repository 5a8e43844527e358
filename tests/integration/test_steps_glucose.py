"""The lanes of glucose with the real model, Triton, PostgreSQL and Redis, called as the loop calls them."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pytest

import triton_models
from adapters import bootstrap
from adapters.bootstrap import Services
from adapters.clock import SystemClock
from adapters.database import WearerModel
from adapters.settings import Settings, TritonSettings
from adapters.triton import TritonClient
from clinstream.benches import load
from consumers import pipelines
from consumers.ask import Ask
from consumers.forecast_request import ForecastRequest
from consumers.forecasting import Forecasting
from schemas import ids
from schemas.events import Answer, GlucoseObserved
from schemas.windows import GlucoseWindow
from tests.support import served, steps
from tests.support.glucose import fate, result
from training import personal
from triton_models.glucose import preprocess

TASK = "glucose"


@pytest.fixture
async def services(
    database: Settings, triton: TritonSettings, redis_url: str, tmp_path: Path
) -> AsyncIterator[Services]:
    settings = served.together(None, database, triton, tmp_path).model_copy(update={"redis_url": redis_url})
    await served.serve_models(settings)
    needs = pipelines.PIPELINES["glucose.live"].needs - {"publisher"}
    async with bootstrap.services(settings, needs, cards=pipelines.cards()) as found:
        yield found


async def run(services: Services, lane: str, events: list[GlucoseObserved]) -> list[str | Answer]:
    """What became of each event: its answer, or its fate."""
    name = f"glucose.{lane}"
    step = pipelines.PIPELINES[name].build(services.settings, services, name)
    outcomes = await step([steps.delivery(event, f"observed.{name}", place) for place, event in enumerate(events)])
    return [result(each).answer if fate(each) == "answered" else fate(each) for each in outcomes]


def past(wearers: list[str], minutes: list[int]) -> list[GlucoseObserved]:
    """Readings of all wearers, so many minutes ago."""
    now = datetime.now(UTC)
    return [event for ago in minutes for event in load.readings(wearers, now - timedelta(minutes=ago))]


async def test_readings_of_both_lanes_make_the_forecast_that_the_model_gives_alone(services: Services) -> None:
    """GL1, GL2, GL3, GL5: intervals at every horizon; backfill is stale while it is the newest, and counts later."""
    wearers = load.wearers(20)
    older = past(wearers, [60, 55, 50, 45, 40, 35, 30, 25, 20])
    newer = past(wearers, [15, 10, 5, 0])
    backfilled = await run(services, "backfill", older)
    assert backfilled[:-20] == ["superseded"] * 160
    assert {answer.label for answer in backfilled[-20:] if isinstance(answer, Answer)} == {"stale"}
    found = await run(services, "live", newer)
    assert found[:-20] == ["superseded"] * 60
    answers = [answer for answer in found if isinstance(answer, Answer)]
    assert len(answers) == 20

    model = triton_models.discover()[TASK]
    mine = [event for event in (*older, *newer) if event.subject_id == wearers[7]]
    window = GlucoseWindow([e.measured_at.timestamp() for e in mine], [e.glucose_mg_dl for e in mine])
    outputs = await services.inference.infer(
        f"{TASK}-{model.card.version.replace('.', '_')}",
        {model.card.inputs[0].name: model.prepare(window)[np.newaxis]},
        priority=2,
        deadline_s=10,
    )
    (answer,) = [answer for answer in answers if answer.subject_id == wearers[7]]
    assert answer.forecast == model.decode(outputs)[0].forecast
    assert [point.horizon_minutes for point in answer.forecast] == list(model.card.horizons_minutes)
    assert all(point.low <= point.glucose_mg_dl <= point.high for point in answer.forecast)
    assert answer.inputs == (mine[0].object_id, mine[-1].object_id)
    assert answer.notice == model.card.notice

    vector = tuple(0.02 * place for place in range(preprocess.VECTOR))
    now = datetime.now(UTC)
    fitted = WearerModel(1, "2.1.0", model.card.version, "deployed", True, vector, now, None, None, None, 0, (), {}, {})
    await services.database.wearer_models.add((wearers[7], True), fitted)
    later = past([wearers[7]], [-1])
    (own,) = await run(services, "live", later)
    assert isinstance(own, Answer)
    mine += later
    times, values = [e.measured_at.timestamp() for e in mine], [e.glucose_mg_dl for e in mine]
    said = []
    for theirs in ((), vector):
        outputs = await services.inference.infer(
            f"{TASK}-{model.card.version.replace('.', '_')}",
            {model.card.inputs[0].name: model.prepare(GlucoseWindow(times, values, theirs))[np.newaxis]},
            priority=2,
            deadline_s=10,
        )
        said.append(model.decode(outputs)[0].forecast)
    assert own.forecast == said[1] != said[0], "the wearer's vector came with the window, from the next reading on"
    made = await personal.fit(services.database.wearer_models, services.inference, SystemClock(), (wearers[8], True))
    assert made is not None
    assert (made.outcome, made.version, made.readings) == ("skipped: insufficient data", "2.1.0", 13)


@pytest.mark.parametrize("flushed", [False, True])
async def test_the_next_forecast_is_the_same_when_redis_was_flushed(services: Services, flushed: bool) -> None:
    """GL5: Redis is a cache that PostgreSQL rebuilds."""
    wearers = load.wearers(2)
    before = past(wearers, [20, 15, 10, 5])
    # The same values for both wearers of the pair, so that their forecasts must be equal.
    values = [event.glucose_mg_dl for event in before if event.subject_id == wearers[0]]
    shaped = [_as(event, values[place // 2]) for place, event in enumerate(before)]
    await run(services, "live", shaped)
    last = [_as(event, 120.0) for event in past(wearers, [0])]
    (first,) = await run(services, "live", last[:1])
    if flushed:
        assert await services.windows.clear()
    assert (await services.windows.get([(wearers[1], True)]) == {}) is flushed
    (second,) = await run(services, "live", last[1:])
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert first.forecast == second.forecast
    assert len(first.forecast) > 0


async def test_a_batch_again_publishes_the_same_results_and_too_few_readings_are_stale(services: Services) -> None:
    events = past(load.wearers(3), [15, 10, 5, 0])
    lone = past(load.wearers(1), [0])
    first = await run(services, "live", [*events, *lone])
    warming_up = first[-1]
    assert isinstance(warming_up, Answer)
    assert (warming_up.label, warming_up.forecast) == ("stale", ())
    assert await run(services, "live", [*events, *lone]) == first


async def test_who_asks_gets_the_streams_forecast_and_a_stopped_model_is_replaced(services: Services) -> None:
    """GL7, GL8, GL9: the same model, readings and version as the stream's; without it the baseline, which says so."""
    model = triton_models.discover()[TASK]
    (wearer,) = load.wearers(1)
    found = await run(services, "live", past([wearer], [20, 15, 10, 5, 0]))
    (answer,) = [answer for answer in found if isinstance(answer, Answer)]
    ask = Ask(services.inference, services.releases, services.clock)
    asked = Forecasting(model, ask, services.database.glucose, services.clock)
    request = ForecastRequest(horizons_minutes=(30, 60, 120), simulated=True)
    (told,) = await asked.predict((wearer, False), [request])
    streamed = {point.horizon_minutes: point.glucose_mg_dl for point in answer.forecast}
    assert [point.glucose_mg_dl for point in told.forecast] == [streamed[minutes] for minutes in (30, 60, 120)]
    assert (told.version, told.fallback, len(told.provenance.reading_ids)) == (answer.version, False, 5)
    assert told.provenance.reading_ids[-1] == answer.object_id
    assert [each.prediction_id for each in await services.database.glucose.predictions((wearer, True), 5)] == [
        told.prediction_id
    ]
    nowhere = TritonClient(TritonSettings(grpc="127.0.0.1:9"))
    lost = Forecasting(
        model, Ask(nowhere, services.releases, services.clock), services.database.glucose, services.clock
    )
    (replaced,) = await lost.predict((wearer, False), [request])
    await nowhere.close()
    assert (replaced.status, replaced.fallback) == ("forecast", True)
    assert {point.source for point in replaced.forecast} == {"baseline"}


def _as(event: GlucoseObserved, mg_dl: float) -> GlucoseObserved:
    content = ids.reading_content(mg_dl)
    identity = ids.event_id(event.object_id, content)
    return msgspec.structs.replace(event, glucose_mg_dl=mg_dl, raw_value=mg_dl, content=content, event_id=identity)
