"""What uploaders get back of a wearer, from PostgreSQL and from the fake: both sit the same exam; GL2, GL3."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine

from adapters.clock import SystemClock
from adapters.database import Database, NewReading, Taking
from adapters.database.engine import make_engine
from adapters.database.shelf import NewDocument, Shelves, in_ms
from adapters.fakes.shelf import FakeShelf
from adapters.settings import Settings
from schemas.events import GlucoseObserved
from tests.support.glucose import NOW, reading, taken_back

ME = reading().subject_id
OTHER = reading(wearer="2").subject_id
Record = Callable[..., Awaitable[None]]


async def recorded(database: Database, *events: GlucoseObserved) -> None:
    """As the glucose step does it, one transaction an event."""
    for event in events:
        wearer = (event.subject_id, event.simulated)
        stamp = (await database.windows([wearer]))[wearer].stamp
        there = await database.shelf.contents_at(event.subject_id, [in_ms(event.measured_at)])
        await database.take(Taking(uuid4(), {wearer: stamp}, [NewReading(event, len(there) + 1)], [], []))


@pytest.fixture(params=["real", "fake"])
async def shelf(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Shelves, Record]]:
    """A shelf, and what records readings behind it."""
    if request.param == "fake":
        fake = FakeShelf(SystemClock())

        async def record(*events: GlucoseObserved) -> None:
            fake.record(*events)

        yield fake, record
        return
    opened = Database.open(request.getfixturevalue("fresh_database"), SystemClock())
    yield opened.shelf, lambda *events: recorded(opened, *events)
    await opened.close()


async def test_readings_come_back_as_sent_the_newest_first_without_what_was_deleted_or_injected(
    shelf: tuple[Shelves, Record],
) -> None:
    shelves, record = shelf
    mmol = reading(-5, 99.1, raw_value=5.5, raw_unit="mmol/L", device="a sensor", trend="Flat")
    await record(reading(0), mmol, reading(-10), reading(-10, 111.0), reading(-15, wearer="2"))
    await record(reading(-20), taken_back(reading(-20)), reading(-1, simulated=True))
    found = await shelves.readings(ME, limit=10)
    assert [(row.raw_value, row.raw_unit) for row in found] == [(100.0, "mg/dL"), (5.5, "mmol/L"), (111.0, "mg/dL")]
    assert (found[1].device, found[1].trend, found[1].event_id) == ("a sensor", "Flat", mmol.event_id)
    ends = NOW - timedelta(minutes=10), NOW - timedelta(minutes=5)
    between = await shelves.readings(ME, since=ends[0], until=ends[1], limit=10)
    assert [row.measured_at for row in between] == [ends[1], ends[0]]
    assert len(await shelves.readings(ME, limit=2)) == 2
    there = await shelves.contents_at(ME, [in_ms(reading(-20).measured_at), 7])
    assert [(row.revision, row.deleted) for row in there] == [(1, False), (2, True)]
    assert await shelves.readings("sub-nobody", limit=5) == []


async def test_a_follower_who_asks_for_what_came_after_its_cursor_misses_nothing(shelf: tuple[Shelves, Record]) -> None:
    shelves, record = shelf
    await record(reading(0), reading(-5))
    first = await shelves.readings_after(ME, 0, 10)
    cursor = max(in_ms(row.recorded_at) for row in first)
    assert len(first) == 2
    assert await shelves.readings_after(ME, cursor, 10) == []
    while in_ms(SystemClock().now()) <= cursor:
        pass
    await record(reading(-600), taken_back(reading(0)))
    later = await shelves.readings_after(ME, cursor, 10)
    assert {(row.measured_at, row.deleted) for row in later} == {
        (reading(-600).measured_at, False),
        (reading(0).measured_at, True),
    }, "also a late one, and a deletion"
    assert in_ms(SystemClock().now()) >= (await shelves.last_modified(ME))["entries"] > cursor


async def test_a_document_is_kept_once_changed_deleted_and_followed(shelf: tuple[Shelves, Record]) -> None:
    shelves, _ = shelf
    one = NewDocument("one", NOW, {"eventType": "Meal Bolus", "carbs": 12.5, "deep": {"a": [1, None, "ü"]}})
    two = NewDocument("two", NOW + timedelta(minutes=1), {"insulin": 1})
    first, second = await shelves.put(ME, "treatments", [one, two])
    assert first.created
    assert first.modified_ms < second.modified_ms
    again = await shelves.put(ME, "treatments", [two, two])
    assert [(put.created, put.changed, put.modified_ms) for put in again] == [(False, False, second.modified_ms)] * 2
    assert [each.identifier for each in await shelves.documents(ME, "treatments", limit=5)] == ["two", "one"]
    assert [each.identifier for each in await shelves.documents(ME, "treatments", until=NOW, limit=5)] == ["one"]
    kept = await shelves.document(ME, "treatments", "one")
    assert kept is not None
    assert kept.body == one.body
    (put,) = await shelves.put(ME, "treatments", [NewDocument("one", NOW, {"carbs": 13})])
    assert put.changed
    assert not put.created
    changed = await shelves.change(ME, "treatments", "one", {"notes": "x"})
    assert changed is not None
    assert changed.body == {"carbs": 13, "notes": "x"}
    assert await shelves.change(ME, "treatments", "nothing", {}) is None
    gone = await shelves.change(ME, "treatments", "two", {}, deleted=True)
    assert gone is not None
    assert [each.identifier for each in await shelves.documents(ME, "treatments", limit=5)] == ["one"]
    since = await shelves.documents_after(ME, "treatments", second.modified_ms, 10)
    assert [(each.identifier, each.deleted) for each in since] == [("one", False), ("two", True)]
    await shelves.put(ME, "treatments", [two])
    assert (await shelves.documents_after(ME, "treatments", gone.modified_ms, 10)) == [], "a repeat revives nothing"
    assert await shelves.last_modified(ME) == {"treatments": gone.modified_ms}


async def test_no_wearer_sees_or_changes_anothers_documents(shelf: tuple[Shelves, Record]) -> None:
    shelves, _ = shelf
    await shelves.put(ME, "profile", [NewDocument("p", NOW, {"mine": True})])
    assert await shelves.documents(OTHER, "profile", limit=5) == []
    assert await shelves.document(OTHER, "profile", "p") is None
    assert await shelves.change(OTHER, "profile", "p", {"mine": False}) is None
    assert await shelves.last_modified(OTHER) == {}
    (put,) = await shelves.put(OTHER, "profile", [NewDocument("p", NOW, {"mine": 2})])
    assert put.created
    assert (await shelves.documents(ME, "profile", limit=5))[0].body == {"mine": True}


async def test_outside_of_a_wearers_scope_nobody_reads_or_writes_documents(fresh_database: Settings) -> None:
    """GL2: row-level security holds for the application role and for the owner of the table alike."""
    opened = Database.open(fresh_database, SystemClock())
    await opened.shelf.put(ME, "food", [NewDocument("f", NOW, {})])
    await opened.close()
    scope = f"SELECT set_config('clinstream.wearer', '{OTHER}', true)"
    write = f"INSERT INTO documents VALUES ('{ME}', 'food', 'g', now(), '{{}}', 1, 1)"
    for url in (fresh_database.database.url, fresh_database.database.migration_url):
        engine = make_engine(url, pool_size=1, statement_timeout_s=10)
        async with engine.begin() as connection:
            assert (await connection.execute(text("SELECT * FROM documents"))).all() == []
            await connection.execute(text(scope))
            assert (await connection.execute(text(f"SELECT * FROM documents WHERE subject_id = '{ME}'"))).all() == []
        with pytest.raises(ProgrammingError, match="row-level security"):
            await run(engine, scope, write)
        await engine.dispose()


async def run(engine: AsyncEngine, *statements: str) -> None:
    async with engine.begin() as connection:
        for statement in statements:
            await connection.execute(text(statement))
