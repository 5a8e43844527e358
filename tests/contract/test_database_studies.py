"""The ledger of studies and rejection notes in PostgreSQL: late, repeated, awaited, rejected objects (CC10, CC26)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from adapters.database import Database, DoorEntry, ResultFilter
from adapters.database.rejections import Rejection
from adapters.database.studies import Arrived, StudyEntry
from adapters.fakes.clock import FakeClock
from adapters.settings import Settings
from schemas import ids
from schemas.studies import Quiet
from tests.support.answers import answer

AT = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)
QUIET = Quiet(60.0, 10.0)


class Ledger:
    """A database whose clock the test moves."""

    def __init__(self, settings: Settings) -> None:
        self.clock = FakeClock()
        self.database = Database.open(settings, self.clock)
        self.archive = self.database.archive

    async def come(self, *numbers: int, sender: str = "CT1", content: str = "c", related: int | None = None) -> None:
        """Objects of study s arrive."""
        came = [
            Arrived("stu-s", sender, f"1.{n}", ids.event_id(f"1.{n}", content), self.clock.now(), related)
            for n in numbers
        ]
        await self.archive.take((), came, (), QUIET)

    async def line(self, sender: str = "CT1") -> StudyEntry:
        (found,) = [each for each in await self.archive.study(["stu-s"]) if each.sender == sender]
        return found

    async def wait(self, seconds: float) -> list[StudyEntry]:
        """Time passes, then the ledger is looked after."""
        await self.clock.advance(seconds)
        return await self.archive.close_quiet(QUIET)


@pytest.fixture
async def ledger(fresh_database: Settings) -> AsyncIterator[Ledger]:
    """An empty one."""
    opened = Ledger(fresh_database)
    yield opened
    await opened.database.close()


def seen(line: StudyEntry) -> tuple[Any, ...]:
    return line.state, line.revision, line.received, line.why


async def test_a_late_object_makes_revision_two_of_the_same_study_and_a_repeat_nothing(ledger: Ledger) -> None:
    await ledger.come(1, 2)
    assert await ledger.wait(59) == []
    (closed,) = await ledger.wait(2)
    assert seen(closed) == ("assumed", 1, 2, "quiet period")
    await ledger.come(1, 2)
    assert seen(await ledger.line()) == ("assumed", 1, 2, "quiet period"), "a redelivery is no news"
    await ledger.come(3)
    assert seen(await ledger.line()) == ("receiving", 2, 3, "late")
    await ledger.wait(61)
    assert seen(await ledger.line()) == ("assumed", 2, 3, "quiet period")
    await ledger.come(3, content="another")
    assert seen(await ledger.line())[:3] == ("receiving", 3, 3), "another content of an object is news, not one more"
    assert len(await ledger.archive.studies()) == 1


async def test_a_sender_that_ended_its_association_in_order_is_waited_for_less(ledger: Ledger) -> None:
    await ledger.come(1)
    await ledger.clock.advance(2)
    for sender, ended in (("CT1", "released"), ("CT2", "aborted")):
        await ledger.come(1, sender="CT2") if sender == "CT2" else None
        entry = DoorEntry(uuid4(), "door-dicom", sender, "CLINSTREAM", "127.0.0.1", AT, 0.0, ended, 1)
        at = ledger.clock.now()
        await ledger.database.note_associations([replace(entry, began_at=at - timedelta(seconds=3), seconds=3.0)])
    assert await ledger.wait(7) == []
    (closed,) = await ledger.wait(2)
    assert (closed.sender, *seen(closed)) == ("CT1", "assumed", 1, 1, "association")


async def test_two_senders_of_one_study_have_a_line_each(ledger: Ledger) -> None:
    await ledger.come(1, 2)
    await ledger.come(2, sender="PACS")
    assert ((await ledger.line()).received, (await ledger.line("PACS")).received) == (2, 1)


async def test_a_number_that_was_announced_completes_a_study_at_once_and_its_lack_is_told(ledger: Ledger) -> None:
    await ledger.come(1, related=3)
    assert (await ledger.line()).state == "receiving"
    await ledger.come(2, 3)
    assert seen(await ledger.line()) == ("complete", 1, 3, "related_instances")
    line = await ledger.archive.expect("stu-s", "CT1", "pacs", 4, (), QUIET)
    assert seen(line) == ("receiving", 2, 3, "pacs"), "a closed study that lacks something opens again"
    await ledger.wait(61)
    assert seen(await ledger.line()) == ("incomplete", 2, 3, "pacs")
    await ledger.come(4)
    assert seen(await ledger.line()) == ("complete", 3, 4, "pacs")


async def test_objects_that_were_listed_are_waited_for_by_name(ledger: Ledger) -> None:
    await ledger.archive.expect("stu-s", "CT1", "list", None, ["1.1", "1.2"], QUIET)
    await ledger.come(1, 3)
    line = await ledger.line()
    assert (line.state, line.missing) == ("receiving", 1)
    await ledger.come(2)
    assert seen(await ledger.line()) == ("complete", 1, 3, "list")


async def test_writers_side_by_side_count_each_object_once(ledger: Ledger) -> None:
    await asyncio.gather(*(ledger.come(*range(n, n + 20), sender=f"S{n % 2}") for n in range(0, 40, 5)))
    await ledger.come(*range(60), sender="S0")
    assert (await ledger.line("S0")).received == 60


async def standing(ledger: Ledger) -> set[str]:
    found = await ledger.database.results(ResultFilter())
    return {each.result.object_id for each in found if each.withdrawn_at is None}


async def test_a_rejection_withdraws_results_of_its_patient_whichever_comes_first(ledger: Ledger) -> None:
    await ledger.database.record([answer("1.1"), answer("1.2"), answer("1.3", subject_id="sub-other")])
    note = ids.event_id("note", "c")
    rejected = [
        Rejection(uid, note, subject, "PACS", "rejected for quality reasons (113001, DCM)", AT)
        for uid, subject in (("1.1", "sub-1.1"), ("1.3", "sub-1.1"), ("1.4", "sub-1.4"))
    ]
    await ledger.archive.take((), (), rejected, QUIET)
    assert await standing(ledger) == {"1.2", "1.3"}, "another patient's result stays"
    await ledger.database.record([answer("1.4")])
    assert await ledger.archive.withdraw_rejected() == 1
    assert await ledger.archive.withdraw_rejected() == 0
    assert await standing(ledger) == {"1.2", "1.3"}
    (found,) = [each for each in await ledger.database.results(ResultFilter()) if each.result.object_id == "1.1"]
    assert found.withdrawn_why == "rejected for quality reasons (113001, DCM)"
