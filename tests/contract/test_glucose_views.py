"""Glycaemic metrics and the truth of forecasts, kept by a real PostgreSQL: what arrives late is computed in."""

import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import msgspec
import pytest

from adapters.database import Database, MetricsRow, NewReading, PlainReading, Prediction, Taking
from adapters.database.readings import time_ms
from adapters.fakes.clock import FakeClock
from adapters.fakes.publisher import FakePublisher
from adapters.settings import Settings
from consumers import glycaemia
from consumers.glucose_metrics import GlucoseMetrics
from schemas import ids, topics
from schemas.errors import BrokerUnavailable
from schemas.events import Answer, ForecastPoint, GlucoseMetricsRevised, GlucoseObserved
from tests.support.answers import answer
from tests.support.glucose import NOW, reading

EVERY_S = 60.0
WEARER = (reading().subject_id, False)
EARLY = date(2000, 1, 1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW.timestamp())


@pytest.fixture
async def database(fresh_database: Settings, clock: FakeClock) -> AsyncIterator[Database]:
    opened = Database.open(fresh_database, clock)
    yield opened
    await opened.close()


@pytest.fixture
async def publisher() -> FakePublisher:
    made = FakePublisher()
    await made.start()
    return made


async def take(database: Database, *events: GlucoseObserved, revision: int = 1, answers: Sequence[Answer] = ()) -> None:
    wearers = {(event.subject_id, event.simulated) for event in events}
    before = {wearer: window.stamp for wearer, window in (await database.windows(list(wearers))).items()}
    await database.take(Taking(uuid4(), before, [NewReading(e, revision) for e in events], answers, []))


def metrics(database: Database, publisher: FakePublisher, clock: FakeClock) -> GlucoseMetrics:
    return GlucoseMetrics(database.glucose, publisher, clock, every_s=EVERY_S)


def announced(publisher: FakePublisher, topic: str = topics.METRICS_GLUCOSE) -> list[GlucoseMetricsRevised]:
    return [msgspec.json.decode(each.value, type=GlucoseMetricsRevised) for each in publisher.topics[topic]]


def plain(events: Sequence[GlucoseObserved]) -> list[PlainReading]:
    rows = sorted((time_ms(event), event.glucose_mg_dl, event.clipped) for event in events)
    return [PlainReading(*row) for row in rows]


def by_window(rows: Sequence[MetricsRow]) -> dict[tuple[date, int], object]:
    return {(row.ends_on, row.days): row.figures for row in rows}


async def test_late_readings_and_corrections_end_in_exactly_what_one_computation_gives(
    database: Database, publisher: FakePublisher, clock: FakeClock
) -> None:
    """GL3: 40 days with gaps in any order, a correction and a deletion; once a minute; revisions without gaps."""
    chance = random.Random(7)
    days = [reading(-minutes, chance.randint(45, 330)) for minutes in range(0, 40 * 1440, 15) if chance.random() < 0.2]
    chance.shuffle(days)
    work = metrics(database, publisher, clock)
    for start in range(0, len(days), 200):
        await take(database, *days[start : start + 200])
        if not start:
            assert (await work.once()).days == 0  # nobody has waited a minute yet
        await clock.advance(EVERY_S / 3)
    await clock.advance(EVERY_S)
    while (await work.once()).days:
        pass
    corrected = reading((days[0].measured_at - NOW) / timedelta(minutes=1), 61.0)
    await take(database, corrected, revision=2)
    await clock.advance(EVERY_S)
    taken_back = reading((days[1].measured_at - NOW) / timedelta(minutes=1), deleted=True)
    taken_back = msgspec.structs.replace(taken_back, content=ids.deletion_content(days[1].content))
    await take(database, taken_back, revision=2)
    assert (await work.once()).wearers == 1
    stored = await database.glucose.metrics(WEARER, EARLY)
    assert by_window(stored) == glycaemia.batch(plain([corrected, *days[2:]]))
    last = {(event.ends_on, event.days): event for event in announced(publisher)}
    assert {window: event.figures for window, event in last.items()} == by_window(stored)
    for row in stored:
        told = [e.revision for e in announced(publisher) if (e.ends_on, e.days) == (row.ends_on, row.days)]
        assert told == list(range(1, row.revision + 1))


async def test_a_storm_of_readings_is_one_computation_and_a_repeat_none(
    database: Database, publisher: FakePublisher, clock: FakeClock
) -> None:
    """A wearer is computed once a minute, however many readings came; injected ones are told elsewhere."""
    work = metrics(database, publisher, clock)
    for minutes in range(0, 200, 5):
        await take(database, reading(-minutes, 100.0), reading(-minutes, 100.0, simulated=True))
    await clock.advance(EVERY_S)
    done = await work.once()
    assert done.wearers == 2
    assert (await work.once()).days == 0
    assert {event.revision for event in announced(publisher)} == {1}
    assert {event.simulated for event in announced(publisher)} == {False}
    assert {event.simulated for event in announced(publisher, topics.METRICS_GLUCOSE_SIMULATED)} == {True}


async def test_what_was_not_acknowledged_is_sent_again_with_the_same_id(
    database: Database, publisher: FakePublisher, clock: FakeClock
) -> None:
    await take(database, reading())
    await clock.advance(EVERY_S)
    with pytest.raises(BrokerUnavailable):
        await metrics(database, FakePublisher(), clock).once()  # not started: refuses
    work = metrics(database, publisher, clock)
    assert (await work.once()).days == 0
    sent = [dict(each.headers)["ce_id"] for each in publisher.topics[topics.METRICS_GLUCOSE]]
    assert len(sent) == len(set(sent)) == len(glycaemia.SIZES)
    await work.once()
    assert len(publisher.topics[topics.METRICS_GLUCOSE]) == len(sent)


def forecast(event: GlucoseObserved, *points: tuple[int, float]) -> Answer:
    made = tuple(
        ForecastPoint(horizon_minutes=minutes, glucose_mg_dl=value, low=value - 5, high=value + 5, coverage=0.9)
        for minutes, value in points
    )
    return answer(
        event.object_id,
        event.content,
        event_id=event.event_id,
        subject_id=event.subject_id,
        task="glucose",
        label="forecast",
        forecast=made,
    )


async def test_a_forecast_meets_what_then_happened_and_a_correction_of_it(
    database: Database, publisher: FakePublisher, clock: FakeClock
) -> None:
    """GL5, GL17: R2, MAE and RMSE by version and horizon, of answers and of forecasts that were asked for."""
    work = metrics(database, publisher, clock)
    first, second = reading(0, 100.0), reading(5, 110.0)
    said = [forecast(first, (30, 120.0), (60, 130.0)), forecast(second, (30, 120.0))]
    await take(database, first, second, answers=said)
    asked = Prediction(
        uuid4(),
        WEARER,
        clock.now(),
        first.measured_at,
        "1.0.0",
        "no model answers",
        {
            "newest_mg_dl": 100.0,
            "forecast": [{"horizon_minutes": 30, "glucose_mg_dl": 100.0, "low": 60.0, "high": 140.0}],
        },
    )
    await database.glucose.keep([asked])
    await clock.advance(EVERY_S)
    assert (await work.once()).joined == 0
    await take(database, reading(31, 125.0), reading(35, 120.0))
    await clock.advance(EVERY_S)
    assert (await work.once()).joined == 3
    found = {(row.version, row.horizon_minutes): row for row in await database.glucose.accuracy()}
    assert set(found) == {("1.0.0", 30), ("baseline", 30)}
    assert (found["1.0.0", 30].n, found["1.0.0", 30].mae) == (2, 2.5)
    assert found["1.0.0", 30].rmse == pytest.approx((25 / 2) ** 0.5)
    assert found["1.0.0", 30].r2 == pytest.approx(1 - 12.5 / 6.25)
    assert found["1.0.0", 30].coverage == 1.0
    assert found["baseline", 30].mae == 25.0
    await take(database, reading(31, 115.0), revision=2)
    await clock.advance(EVERY_S)
    await work.once()
    corrected = {(row.version, row.horizon_minutes): row for row in await database.glucose.accuracy()}
    assert corrected["baseline", 30].mae == 15.0


async def test_forecasts_that_were_asked_for_are_readable_in_their_wearers_scope_only(
    database: Database, clock: FakeClock
) -> None:
    """GL2: PostgreSQL itself keeps one wearer's forecasts from another."""
    other = (reading(wearer="2").subject_id, False)
    for wearer in (WEARER, other):
        at = datetime(2026, 1, 1, tzinfo=UTC)
        await database.glucose.keep([Prediction(uuid4(), wearer, at, None, "1.0.0", "", {"whose": wearer[0]})])
    (mine,) = await database.glucose.predictions(WEARER, 10)
    assert mine.content == {"whose": WEARER[0]}
    async with database._transactions._engine.begin() as connection:
        everything = await connection.exec_driver_sql("SELECT * FROM glucose_predictions")
        assert list(everything) == []
