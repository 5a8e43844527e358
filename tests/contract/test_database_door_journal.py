"""The table of the doors' journal on a real PostgreSQL (CC14, CC28)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from adapters.clock import SystemClock
from adapters.database import Database, DoorEntry, DoorFilter, door_journal
from adapters.database.engine import make_engine
from adapters.settings import Settings
from consumers.journal_keeping import JournalKeeping

THEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def entry(minutes: int, sender: str = "CT1", ended: str = "released", **counts: dict[str, int]) -> DoorEntry:
    return DoorEntry(
        uuid4(),
        "door-dicom",
        sender,
        "CLINSTREAM",
        "10.0.0.5",
        THEN + timedelta(minutes=minutes),
        1.5,
        ended,
        1000,
        **counts,
    )


async def test_entries_come_back_as_they_were_newest_first_and_once(fresh_database: Settings) -> None:
    first = entry(0, statuses={"0000": 3, "C000": 1}, reasons={"the data set is empty": 1}, sop_classes={"1.2.3": 4})
    second, third = entry(1, sender="MR\x00"), entry(2, ended="rejected", reasons={"too many associations": 1})
    database = Database.open(fresh_database, SystemClock())
    try:
        await database.note_associations([first, second])
        await database.note_associations([second, third])
        found = await database.associations(DoorFilter())
        assert [each.association_id for each in found] == [e.association_id for e in (third, second, first)]
        assert found[2] == first
        assert found[1].sender == "MR"
        assert await database.associations(DoorFilter(refused=True)) == [third, first]
        assert await database.associations(DoorFilter(sender="CT1", limit=1)) == [third]
        assert await database.associations(DoorFilter(since=THEN + timedelta(minutes=2))) == [third]
    finally:
        await database.close()


async def test_old_entries_go_the_oldest_first_and_the_last_day_stays_whatever_is_asked(
    fresh_database: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CC28: by the age that the setting says, some at a time, through the one way that the services have."""
    monkeypatch.setattr(door_journal, "MOST", 2)
    now = SystemClock().now()
    ages = [400, 200, 91, 89, 2, 0]
    aged = [replace(entry(0), began_at=now - timedelta(days=days, hours=1)) for days in ages]
    database = Database.open(fresh_database, SystemClock())
    try:
        await database.note_associations(aged)
        assert await database.prune_journal(timedelta(days=150)) == 2
        assert await JournalKeeping(database, 90, SystemClock()).once() == 1
        assert await JournalKeeping(database, 90, SystemClock()).once() == 0
        kept = await database.associations(DoorFilter())
        assert [each.association_id for each in kept] == [each.association_id for each in aged[:2:-1]]
        assert await database.prune_journal(-timedelta(days=30)) == 2
        assert await database.prune_journal(-timedelta(days=30)) == 0
        assert [each.association_id for each in await database.associations(DoorFilter())] == [aged[-1].association_id]
    finally:
        await database.close()


async def test_the_services_cannot_change_what_is_in_the_journal(fresh_database: Settings) -> None:
    engine = make_engine(fresh_database.database.url, pool_size=1, statement_timeout_s=10)
    try:
        for statement in ("DELETE FROM door_journal", "UPDATE door_journal SET sender = 'x'"):
            with pytest.raises(ProgrammingError):
                async with engine.begin() as connection:
                    await connection.execute(text(statement))
    finally:
        await engine.dispose()
