"""The queue of what leaves: filed once, taken by one, in order, and sent again only when somebody says so."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.database import Database, Export
from adapters.fakes.clock import FakeClock
from adapters.settings import Settings
from schemas import ids

NOW = datetime.fromtimestamp(1_700_000_000, UTC)
DAY = timedelta(hours=24)
LEASE = timedelta(minutes=5)


@pytest.fixture
async def opened(fresh_database: Settings) -> AsyncIterator[tuple[Database, FakeClock]]:
    clock = FakeClock()
    database = Database.open(fresh_database, clock)
    yield database, clock
    await database.close()


def row(result: UUID, action: Any = "publish", change: str = "", **changes: Any) -> Export:
    """A sending to `pacs`."""
    values: dict[str, Any] = {
        "export_id": ids.export_id(result, action, change, changes.get("destination", "pacs")),
        "result_id": result,
        "task": "chest_xray",
        "object_id": "1.2.3",
        "subject_id": "sub-1",
        "action": action,
        "change": change,
        "destination": "pacs",
        "urgent": False,
        "until": NOW + DAY,
        "filed_at": NOW,
        **changes,
    }
    return Export(**values)


async def test_a_result_is_filed_once_and_taken_by_one_until_its_lease_ends(opened: tuple[Database, FakeClock]) -> None:
    """CC20: a result that is read twice leaves once; a sender that died is followed by another."""
    database, clock = opened
    result = uuid4()
    assert await database.file_exports([row(result)]) == 1
    assert await database.file_exports([row(result)]) == 0
    taken = await asyncio.gather(*(database.claim_exports(4, LEASE) for _ in range(4)))
    assert sorted(len(each) for each in taken) == [0, 0, 0, 1]
    await clock.advance(LEASE.total_seconds() + 1)
    (again,) = await database.claim_exports(4, LEASE)
    assert again.attempts == 2
    await database.end_export(again.export_id, "confirmed", "", ["1.2.3.4"])
    await clock.advance(LEASE.total_seconds() + 1)
    assert await database.claim_exports(4, LEASE) == []
    assert await database.waiting_exports() == 0
    assert await database.delivered(result, "pacs") == [("publish", "", ["1.2.3.4"])]


async def test_urgent_ones_go_first_and_what_changed_waits_for_what_it_changes(
    opened: tuple[Database, FakeClock],
) -> None:
    """A withdrawal never overtakes its result on the way to the same receiver."""
    database, clock = opened
    plain, urgent = uuid4(), uuid4()
    await database.file_exports([row(plain), row(plain, "amend", "o1", changed={"label": "normal"})])
    await database.file_exports([row(urgent, urgent=True), row(plain, destination="fhir")])
    first = await database.claim_exports(1, LEASE)
    assert [each.result_id for each in first] == [urgent]
    rest = await database.claim_exports(9, LEASE)
    assert [(each.action, each.destination) for each in rest] == [("publish", "pacs"), ("publish", "fhir")]
    await database.put_off_export(rest[0].export_id, clock.now() + timedelta(seconds=8), "it does not answer", 0)
    assert await database.claim_exports(9, LEASE) == []
    await clock.advance(9)
    (back,) = await database.claim_exports(9, LEASE)
    assert (back.action, back.reason, back.attempts) == ("publish", "it does not answer", 2)
    await database.end_export(back.export_id, "sent", "")
    (amended,) = await database.claim_exports(9, LEASE)
    assert (amended.action, amended.change, amended.changed) == ("amend", "o1", {"label": "normal"})


async def test_only_a_person_sends_again_and_the_audit_has_it(
    opened: tuple[Database, FakeClock], fresh_database: Settings
) -> None:
    """CC20: what ended stays ended, until it is asked for by name."""
    database, clock = opened
    result = uuid4()
    await database.file_exports([row(result), row(result, destination="other")])
    for each in await database.claim_exports(9, LEASE):
        await database.end_export(each.export_id, "failed", "it refuses an object")
    await clock.advance(10 * DAY.total_seconds())
    asked: dict[str, Any] = {"within": DAY, "by_whom": "j.doe", "why": "repaired"}
    assert await database.resend_exports(uuid4(), destination=None, **asked) == []
    (again,) = await database.resend_exports(result, destination="pacs", **asked)
    (due,) = await database.claim_exports(9, LEASE)
    assert due.export_id == again
    assert due.until == clock.now() + DAY
    assert {each.state for each in await database.exports(result=result)} == {"waiting", "failed"}
    assert [each.destination for each in await database.exports(state="failed")] == ["other"]
