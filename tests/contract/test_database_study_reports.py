"""What is told of studies in PostgreSQL: marks that are not lost, facts of a study, revisions and their end (CC20)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from adapters.database import Database, Export, ImageIdentity
from adapters.database.instances import Instance
from adapters.database.studies import Arrived
from adapters.database.study_reports import StudyReport, View
from adapters.fakes.clock import FakeClock
from adapters.settings import Settings
from schemas import ids
from schemas.studies import Quiet
from tests.support.answers import answer

QUIET = Quiet(60.0, 10.0)
STUDY = "stu-1"


@pytest.fixture
async def opened(fresh_database: Settings) -> AsyncIterator[tuple[Database, FakeClock]]:
    clock = FakeClock()
    database = Database.open(fresh_database, clock)
    yield database, clock
    await database.close()


async def come(database: Database, clock: FakeClock, number: int) -> UUID:
    """An image arrives that nothing has prepared yet."""
    now, thing = clock.now(), f"1.{number}"
    event = ids.event_id(thing, "c")
    header = Instance(
        event_id=event,
        study_id=STUDY,
        subject_id="sub-1",
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.4",
        sop_instance_uid=thing,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="DX",
        patient_id="PERSONAL",
        patient_name="PERSONAL",
        accession_number="",
        study_date="",
        blob_uri=f"pixels/{number}",
        size_bytes=1,
        attributes={},
        observed_at=now,
    )
    await database.archive.take([header], [Arrived(STUDY, "CT1", thing, event, now)], [], QUIET)
    return event


def told(revision: int, result: UUID, **changes: Any) -> StudyReport:
    """A revision that tells that result."""
    view = View("1.1", uuid4(), "sub-1", "pixels/1", "answered", result, changed={"label": "normal"})
    values: dict[str, Any] = {
        "report_id": uuid4(),
        "study_id": STUDY,
        "task": "chest_xray",
        "revision": revision,
        "digest": str(revision),
        "decision": "finding",
        "views": (view,),
        "changed": {},
        "follows": None,
        "made_at": datetime.fromtimestamp(1_700_000_000, UTC),
        **changes,
    }
    return StudyReport(**values)


async def test_a_closed_study_is_looked_at_until_nothing_new_comes_while_somebody_looks(
    opened: tuple[Database, FakeClock],
) -> None:
    """CC10: the ledger marks what it closes; a mark that comes meanwhile stays."""
    database, clock = opened
    event = await come(database, clock, 1)
    assert await database.due_studies(9) == []
    await clock.advance(61)
    await database.archive.close_quiet(QUIET)
    ((study, number),) = await database.due_studies(9)
    facts = await database.study_facts(study)
    assert (facts.receiving, [each.event_id for each in facts.objects], facts.said) == (False, [event], ())
    await database.mark_studies([study])
    await database.tell_study(study, number, None, [], [], [])
    ((_, later),) = await database.due_studies(9)
    assert later == number + 1
    await database.tell_study(study, later, clock.now() + timedelta(seconds=2), [], [], [])
    assert await database.due_studies(9) == []
    await clock.advance(3)
    await database.tell_study(study, later, None, [], [], [])
    assert await database.due_studies(9) == []
    await come(database, clock, 2)
    assert (await database.study_facts(study)).receiving, "a late image opens it again"


async def test_facts_are_the_newest_of_each_object_and_unseen_ones_are_found_with_an_audited_read(
    opened: tuple[Database, FakeClock],
) -> None:
    """CC20, S6: what no preparation has seen is found in the headers, which are personal."""
    database, clock = opened
    event, other = await come(database, clock, 1), await come(database, clock, 2)
    given = answer("1.1", event_id=event, task="chest_xray", priority="stat")
    await database.record([given])
    facts = await database.study_facts(STUDY)
    (said,) = facts.said
    assert (said.object_id, said.result_id, said.urgent, said.withdrawn_at) == ("1.1", given.answer_id, True, None)
    assert [(each.object_id, each.fate) for each in facts.ended] == [("1.1", "answered")]
    found = await database.unseen_objects([other])
    assert (found[other].blob_uri, found[other].modality, found[other].subject_id) == ("pixels/2", "DX", "sub-1")
    assert "PERSONAL" not in repr(found)


async def test_revisions_are_kept_and_withdrawn_with_those_that_they_replaced(
    opened: tuple[Database, FakeClock],
) -> None:
    """CC20: a repeat files nothing; sendings are found by the result that they tell."""
    database, clock = opened
    result = uuid4()
    first = told(1, result)
    second = told(2, result, follows=first.report_id)
    row = Export(
        export_id=uuid4(),
        result_id=second.report_id,
        task="chest_xray",
        object_id="1.1",
        subject_id="sub-1",
        action="publish",
        destination="pacs",
        urgent=False,
        until=clock.now() + timedelta(hours=24),
        filed_at=clock.now(),
    )
    for _ in range(2):
        await database.tell_study(STUDY, 1, None, [first, second], [], [row])
    assert await database.study_report_chain(first.report_id) == [first, second]
    assert (await database.study_facts(STUDY)).reports == (second,)
    assert [each.export_id for each in await database.exports(result=result)] == [row.export_id]
    asked: dict[str, Any] = {"within": timedelta(hours=1), "by_whom": "j.doe", "why": "test"}
    assert await database.resend_exports(result, destination=None, **asked) == [row.export_id]
    await database.tell_study(STUDY, 1, None, [], [second.report_id], [])
    kept = await database.study_report_chain(second.report_id)
    assert [each.withdrawn_at for each in kept] == [clock.now(), clock.now()]
    assert await database.study_report(uuid4()) is None


async def test_a_report_is_known_by_its_uids_before_anything_is_noted_of_its_sending(
    opened: tuple[Database, FakeClock],
) -> None:
    """CC20: a reader may be quicker than the note; of another patient and study nothing is told."""
    database, _ = opened
    result = answer("1.1", task="chest_xray", label="pneumonia", subject_id="sub-1")
    await database.record([result])
    image = ImageIdentity(result.event_id, "1.1", "sub-1", STUDY, "pixels/1")
    await database.note_images([image])
    report = told(1, result.answer_id)
    await database.tell_study(STUDY, 1, None, [report], [], [])
    for uid in (ids.report_uid("sr", report.report_id), ids.report_uid("sc", report.report_id, "deidentified")):
        (found,) = await database.told([uid], "sub-1", "stu-else")
        assert (found.result_id, found.task, found.label) == (result.answer_id, "chest_xray", "pneumonia")
        assert await database.told([uid], "sub-else", STUDY) == [found]
        assert await database.told([uid], "sub-else", "stu-else") == []
    assert await database.told([ids.report_uid("ko", report.report_id), ids.own_uid("sr", "?")], "sub-1", STUDY) == []
