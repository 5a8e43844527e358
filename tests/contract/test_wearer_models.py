"""Wearers' own models in PostgreSQL: nobody's is read in another's scope, one is active, windows bring it along."""

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from adapters.clock import SystemClock
from adapters.database import Database, NewReading, Own, Taking, Wearer, WearerModel, WindowsMoved, wearer_models
from adapters.database.engine import make_engine
from adapters.fakes.clock import FakeClock
from adapters.settings import Settings
from adapters.wearers import Credential
from adapters.windows import decode, encode
from tests.support.forecaster import Flat
from tests.support.glucose import reading
from tests.support.steps import FakeReleases
from training import refitting

MINE: Wearer = (reading().subject_id, False)
OTHER: Wearer = ("sub-other", False)
VECTOR = tuple(place / 16 for place in range(20))


@pytest.fixture
async def database(fresh_database: Settings) -> AsyncIterator[Database]:
    """As the services have it."""
    opened = Database.open(fresh_database, SystemClock())
    yield opened
    await opened.close()


def made(number: int = 1, outcome: str = "deployed", vector: tuple[float, ...] = VECTOR) -> WearerModel:
    """An attempt with everything that is noted of one."""
    now = SystemClock().now()
    return WearerModel(
        number=number,
        version=f"2.{number}.0",
        base_version="2.0.0",
        outcome=outcome,
        active=outcome == "deployed",
        vector=vector if outcome == "deployed" else (),
        trained_at=now,
        used_at=None,
        data_from=now - timedelta(days=30),
        data_until=now,
        readings=8000,
        features=("level",),
        hyperparameters={"hold": 1000.0},
        metrics={"gain": 0.03},
    )


async def raw(settings: Settings, scope: str, statement: str, *, owner: bool = False) -> list[tuple[object, ...]]:
    """Rows of a statement of one's own in a scope."""
    url = settings.database.migration_url if owner else settings.database.url
    engine = make_engine(url, pool_size=1, statement_timeout_s=10)
    try:
        async with engine.begin() as connection:
            if scope:
                await connection.execute(text("SELECT set_config('clinstream.wearers', :s, true)"), {"s": scope})
            result = await connection.execute(text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        await engine.dispose()


async def test_a_wearers_vector_is_read_and_changed_in_that_wearers_scope_only(
    database: Database, fresh_database: Settings
) -> None:
    """GL2: without a scope, in another's and as the owner nothing is found, changed or added."""
    await database.wearer_models.add(MINE, made())
    everything = "SELECT subject_id, vector FROM wearer_models"
    for scope in ("", OTHER[0], f"{OTHER[0]},{MINE[0]}x"):
        for owner in (False, True):
            assert await raw(fresh_database, scope, everything, owner=owner) == []
    assert len(await raw(fresh_database, f"{OTHER[0]},{MINE[0]}", everything)) == 1
    await raw(fresh_database, OTHER[0], "UPDATE wearer_models SET active = false, vector = '{}'")
    stolen = f"UPDATE wearer_models SET subject_id = '{OTHER[0]}'"
    with pytest.raises(DBAPIError, match="row-level security"):
        await raw(fresh_database, MINE[0], stolen)
    planted = (
        "INSERT INTO wearer_models (subject_id, simulated, number, version, base_version, outcome, active, vector, "
        f"trained_at, readings, features, hyperparameters, metrics) VALUES ('{MINE[0]}', false, 9, '2.9.0', '2.0.0', "
        "'deployed', false, '{}', now(), 0, '[]', '{}', '{}')"
    )
    with pytest.raises(DBAPIError, match="row-level security"):
        await raw(fresh_database, OTHER[0], planted)
    assert await database.wearer_models.of(OTHER) == []
    (kept,) = await database.wearer_models.of(MINE)
    assert (kept.active, tuple(kept.vector)) == (True, VECTOR)


async def test_every_attempt_is_a_line_and_the_last_deployed_one_is_active(database: Database) -> None:
    """GL13, GL21, GL23: what was not better leaves the one before in force; what is better archives it."""
    first = made(1)
    await database.wearer_models.add(MINE, first)
    await database.wearer_models.add(MINE, made(2, "rejected: no improvement"))
    await database.wearer_models.add(MINE, made(3, "skipped: insufficient data"))
    assert [(each.number, each.active) for each in await database.wearer_models.of(MINE)] == [
        (3, False),
        (2, False),
        (1, True),
    ]
    assert not await database.wearer_models.add(MINE, made(3)), "somebody noted a third attempt before"
    assert await database.wearer_models.add(MINE, made(4))
    found = await database.wearer_models.of(MINE)
    assert [each.active for each in found] == [True, False, False, False]
    (oldest,) = [each for each in found if each.number == 1]
    assert (oldest.version, oldest.outcome, oldest.readings) == ("2.1.0", "deployed", 8000)
    assert (oldest.data_from, oldest.data_until) == (first.data_from, first.data_until)
    assert (oldest.hyperparameters, oldest.metrics, oldest.features) == ({"hold": 1000.0}, {"gain": 0.03}, ["level"])


async def test_a_window_brings_the_vector_and_a_new_vector_makes_old_windows_count_as_moved(database: Database) -> None:
    """GL2: whoever still has the window of before writes nothing, reads again and finds the vector."""
    event = reading()
    await database.take(Taking(uuid4(), {MINE: None}, [NewReading(event, 1)], [], []))
    before = (await database.windows([MINE]))[MINE]
    assert before.own.vector == ()
    await database.wearer_models.add(MINE, made())
    later = NewReading(reading(5), 1)
    with pytest.raises(WindowsMoved):
        await database.take(Taking(uuid4(), {MINE: before.stamp}, [later], [], []))
    windows = await database.windows([MINE, OTHER])
    assert windows[MINE].own == Own("2.0.0", VECTOR)
    assert windows[OTHER].own == Own()
    assert windows[MINE].times_ms == before.times_ms
    assert decode(encode(windows[MINE])) == windows[MINE]
    await database.take(Taking(uuid4(), {MINE: windows[MINE].stamp}, [later], [], []))
    (model,) = await database.wearer_models.of(MINE)
    assert model.used_at is not None


async def test_readings_in_force_and_new_ones_are_counted(database: Database) -> None:
    """GL12: a corrected reading is one, and what came in after a moment is told apart from what came before."""
    event = reading()
    await database.take(Taking(uuid4(), {MINE: None}, [NewReading(event, 1)], [], []))
    found = await database.wearer_models.readings(MINE, event.measured_at - timedelta(hours=1))
    assert [(at, round(value, 3)) for at, value in found] == [(event.measured_at, event.glucose_mg_dl)]
    (never,) = await database.wearer_models.standings("", 10, 100)
    assert (never.wearer, never.attempted_at, never.new_readings) == (MINE, None, 1)
    assert await database.wearer_models.standings(MINE[0], 10, 100) == [], "the next page has nobody"
    await database.wearer_models.add(MINE, made())
    (after,) = await database.wearer_models.standings("", 10, 100)
    assert (after.base_version, after.on_trial, after.new_readings, after.rmse_at_fit) == ("2.0.0", False, 0, 0.0)


async def test_the_zone_of_a_wearers_clock_is_what_was_said_last_whichever_credential_said_it(
    database: Database,
) -> None:
    """GL6: kept with the credentials, changed for all of them, and audited."""
    salt, now = b"s" * 16, SystemClock().now()
    first = Credential(uuid4(), MINE[0], "W", salt, b"h", now, zone="Asia/Tokyo")
    second = Credential(uuid4(), MINE[0], "W", salt, b"h", now + timedelta(seconds=1))
    assert await database.wearer_models.zone(MINE) == ""
    for each in (first, second):
        await database.add_credential(each, by_whom="a test")
    assert await database.wearer_models.zone(MINE) == "Asia/Tokyo"
    assert await database.set_zone(MINE[0], "Europe/Berlin", by_whom="a test") == 2
    assert await database.set_zone(OTHER[0], "Europe/Berlin", by_whom="a test") == 0
    assert await database.wearer_models.zone(MINE) == "Europe/Berlin"
    assert [each.zone for each in await database.credentials()] == ["Europe/Berlin"] * 2
    assert await database.wearer_models.zone(OTHER) == ""


def at_night(since: datetime, days: float) -> list[NewReading]:
    """A habit of every day, every five minutes from then on."""
    times = [since + timedelta(minutes=5 * place) for place in range(int(days * 288))]
    return [
        NewReading(reading(mg_dl=round(150 + 60 * math.sin(at.timestamp() / 13_751), 1), measured_at=at), 1)
        for at in times
    ]


async def test_the_trainer_fits_who_is_due_and_a_vector_that_fails_its_trial_is_rolled_back(database: Database) -> None:
    """GL12, GL13: the first on trial, then in force, then a worse one that nobody is shown, then one not worse."""
    models, began = database.wearer_models, SystemClock().now()
    await database.take(Taking(uuid4(), {MINE: None}, at_night(began - timedelta(days=5), 5), [], []))

    async def later(hours: float) -> list[str]:
        clock = FakeClock((began + timedelta(hours=hours)).timestamp())
        work = refitting.Refitting(models, Flat(), FakeReleases({MINE[0]: "2.0.0"}), clock)
        return [each.outcome for each in await work.once()]

    assert [await later(0.1), await later(0.1)] == [["on trial"], []]
    (first,) = await models.of(MINE)
    assert (first.hyperparameters["because"], first.active) == ("first readings", False)
    before = (await database.windows([MINE]))[MINE]
    assert before.own == Own(), "nobody is shown a first vector on trial"
    await database.take(Taking(uuid4(), {MINE: before.stamp}, at_night(began + timedelta(minutes=5), 3), [], []))
    assert await later(6) == []
    assert await later(9) == ["deployed"]
    assert (await database.windows([MINE]))[MINE].own == Own("2.0.0", tuple(first.vector))

    async def on_trial(number: int, vector: Sequence[float], hours: float) -> None:
        at = began + timedelta(hours=hours)
        tried = replace(made(number, "on trial"), active=False, vector=vector, trained_at=at)
        assert await models.add(MINE, tried)

    await on_trial(2, (1.0, *([0.0] * 19)), 10)
    assert await later(11) == []
    assert await later(18) == ["rolled back: worse"]
    await on_trial(3, first.vector, 19)
    assert (await database.windows([MINE]))[MINE].own.vector == tuple(first.vector)
    assert await later(27) == ["deployed"]
    found = [(each.number, each.outcome, each.active, len(each.vector)) for each in await models.of(MINE)]
    assert found == [
        (3, "deployed", True, 36),
        (2, "rolled back: worse", False, 20),
        (1, "deployed", False, 36),
    ]
    assert not await models.end_trial(MINE, 2, "deployed", {}), "what was rolled back stays so"


async def test_two_trainers_note_one_attempt_and_one_that_dies_in_it_leaves_what_was_in_force(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GL12, GL13: both fit, the later notes nothing; retiring the one before and noting the next is one transaction."""
    models = database.wearer_models
    await database.take(Taking(uuid4(), {MINE: None}, at_night(SystemClock().now() - timedelta(days=5), 5), [], []))
    clock = FakeClock((SystemClock().now() + timedelta(minutes=5)).timestamp())
    both = [refitting.Refitting(models, Flat(), FakeReleases({MINE[0]: "2.0.0"}), clock) for _ in range(2)]
    noted = await asyncio.gather(*(each.once() for each in both))
    assert sum(len(each) for each in noted) == len(await models.of(MINE)) == 1
    await models.add(MINE, made(2))
    before = (await database.windows([MINE]))[MINE]
    monkeypatch.setattr(wearer_models, "INSERT", text("SELECT 1 / (CAST(:number AS int) - CAST(:number AS int))"))
    with pytest.raises(DBAPIError):
        await models.add(MINE, made(3))
    assert [(each.number, each.active) for each in await models.of(MINE)] == [(2, True), (1, False)]
    assert (await database.windows([MINE]))[MINE] == before
