"""Headers of stored objects in PostgreSQL: matching, newest content, counts, and that every read is audited (CC28)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from adapters.clock import SystemClock
from adapters.database import Database
from adapters.database.engine import make_engine
from adapters.database.instances import Instance, Match
from adapters.settings import Settings
from schemas.studies import Quiet

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
async def database(fresh_database: Settings) -> AsyncIterator[Database]:
    """As the services have it."""
    opened = Database.open(fresh_database, SystemClock())
    yield opened
    await opened.close()


def instance(number: int, **changes: Any) -> Instance:
    values: dict[str, Any] = {
        "event_id": uuid4(),
        "study_id": f"stu-{number // 10}",
        "subject_id": f"sub-{number // 10}",
        "study_instance_uid": f"1.{number // 10}",
        "series_instance_uid": f"1.{number // 10}.1",
        "sop_instance_uid": f"1.{number // 10}.1.{number}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "modality": "CT",
        "patient_id": f"P{number // 10}",
        "patient_name": f"Doe^J_ne{number // 10}",
        "accession_number": f"A{number // 10}",
        "study_date": f"2026010{number // 10}",
        "blob_uri": f"pixels/aa/{number}",
        "size_bytes": 10,
        "attributes": {"00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe"}]}},
        "observed_at": AT + timedelta(seconds=number),
        **changes,
    }
    return Instance(**values)


async def note(database: Database, *rows: Instance) -> None:
    await database.archive.take(rows, (), (), Quiet())


async def found(
    database: Database, *matches: Match, level: Any = "studies", limit: int = 10, offset: int = 0
) -> list[Any]:
    rows = await database.archive.search(level, matches, limit=limit, offset=offset, by_whom="tester")
    return [(row.series, row.instances, row.modalities) for row in rows]


async def test_searches_match_count_whole_studies_and_page(database: Database) -> None:
    await note(
        database, instance(10), instance(11, modality="SR", series_instance_uid="1.1.2"), instance(20), instance(30)
    )
    one = (2, 2, ("CT", "SR"))
    assert await found(database, Match("modality", "exact", ("SR",))) == [one], "all of a study that matches counts"
    assert await found(database, Match("patient_name", "wildcard", ("doe^j_ne1",))) == [one]
    assert await found(database, Match("patient_name", "wildcard", ("Doe^JXne1",))) == [], "_ is a letter"
    assert len(await found(database, Match("patient_name", "wildcard", ("*?1",)))) == 1
    assert len(await found(database, Match("study_date", "range", ("20260102", "")))) == 2
    assert len(await found(database, Match("study_date", "range", ("", "20260102")))) == 2
    assert len(await found(database, Match("study_instance_uid", "exact", ("1.1", "1.3")))) == 2
    assert await found(database, limit=1, offset=2) == [one], "the newest study date first"
    assert len(await found(database, level="series")) == 4
    assert len(await found(database, Match("patient_id", "exact", ("P1",)), level="instances")) == 2


async def test_a_repeat_changes_nothing_and_the_newest_content_is_what_one_retrieves(database: Database) -> None:
    first = instance(10)
    await note(database, first, instance(10, blob_uri="pixels/bb/new", observed_at=AT + timedelta(hours=1)))
    await note(database, first)
    (located,) = await database.archive.locate([Match("study_instance_uid", "exact", ("1.1",))], by_whom="tester")
    assert located.blob_uri == "pixels/bb/new"
    assert await found(database) == [(1, 1, ("CT",))]


async def test_without_an_audit_line_nobody_is_found_and_each_read_leaves_one(
    database: Database, fresh_database: Settings
) -> None:
    await note(database, instance(10))
    await found(database, Match("patient_id", "exact", ("P1",)))
    await database.archive.locate([Match("study_instance_uid", "exact", ("1.1",))], by_whom="viewer")
    engine = make_engine(fresh_database.database.url, pool_size=1, statement_timeout_s=10)
    try:
        async with engine.begin() as connection:
            assert list(await connection.execute(text("SELECT * FROM instances"))) == []
            lines = list(await connection.execute(text("SELECT by_whom, action, details::text FROM audit ORDER BY id")))
    finally:
        await engine.dispose()
    assert [line[:2] for line in lines] == [
        ("tester", "instances.read"),
        ("viewer", "instances.read"),
        ("viewer", "instances.found"),
    ]
    assert "P1" not in str(lines)
    assert "stu-1" in lines[2][2]
