"""What is told of a whole study: which image decides, when it is told, and as which revision (CC20)."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest

import triton_models
from adapters.database import Export, StoredResult
from adapters.database.study_reports import Ended, Known, Said, StudyFacts, StudyReport
from adapters.fakes.clock import FakeClock
from adapters.settings import Destination, ExportSettings
from consumers.exporting import study
from consumers.study_reports import StudyReports
from schemas import ids
from schemas.events import ResultPublished
from tests.support.results_out import CHEST, chest_result

CARDS = {CHEST: triton_models.discover()[CHEST].card}
NOW = datetime.fromtimestamp(1_700_000_000, UTC)
SETTINGS = ExportSettings(destinations={"pacs": Destination()})
UNSURE = {"label": "normal", "abstained": True, "probability": 0.05}
SURE = {"label": "pneumonia", "probability": 0.9}
NOTHING = {"label": "normal", "probability": 0.01}


def known(number: int, **changes: Any) -> Known:
    """An image of the study, prepared."""
    event = uuid5(ids.NAMESPACE, f"image {number}")
    return replace(Known(f"1.2.{number}", event, "sub-1", f"pixels/{number}", study.DICOM, None, NOW), **changes)


class Desk:
    """One study as the database knows it, and what was filed of it."""

    def __init__(self, *answers: dict[str, Any] | None) -> None:
        self.results: dict[UUID, ResultPublished] = {}
        self.facts = StudyFacts("stu-1", False, NOW, (), (), (), ())
        self.number, self.again = 1, False
        self.rows: list[Export] = []
        self.gone: list[UUID] = []
        for each in answers:
            self.add(each)

    def add(self, answer: dict[str, Any] | None) -> None:
        """One more image, with this answer or without any."""
        number = len(self.facts.objects) + 1
        thing = known(number)
        self.facts = replace(self.facts, objects=(*self.facts.objects, thing))
        if answer is not None:
            result = chest_result(number, observed=NOW.timestamp(), **answer)
            self.results[result.result_id] = result
            said = Said(thing.object_id, CHEST, result.result_id, None, {}, None, urgent=False)
            self.facts = replace(self.facts, said=(*self.facts.said, said))

    def end(self, number: int, fate: str, reason: str = "", code: str = "", task: str = CHEST) -> None:
        """The image of that number ends without an answer."""
        ended = Ended(f"1.2.{number}", task, fate, reason, code)
        self.facts = replace(self.facts, ended=(*self.facts.ended, ended))

    def change(self, number: int, **changes: Any) -> None:
        """Something about the result of an image."""
        said = list(self.facts.said)
        said[number - 1] = replace(said[number - 1], **changes)
        self.facts = replace(self.facts, said=tuple(said))

    async def due_studies(self, limit: int) -> list[tuple[str, int]]:
        return [("stu-1", self.number)]

    async def study_facts(self, study: str) -> StudyFacts:
        return self.facts

    async def unseen_objects(self, events: Sequence[UUID]) -> dict[UUID, Known]:
        unprepared = [each for each in self.facts.objects if each.event_id in events]
        return {each.event_id: replace(each, modality=each.modality or "DX") for each in unprepared}

    async def result(self, result_id: UUID) -> StoredResult | None:
        return StoredResult(self.results[result_id], NOW, None, None)

    async def tell_study(
        self,
        study: str,
        number: int,
        again: datetime | None,
        made: Sequence[StudyReport],
        gone: Sequence[UUID],
        rows: Sequence[Export],
    ) -> None:
        self.again = again is not None
        self.rows += rows
        self.gone += gone
        kept = {each.task: each for each in (*self.facts.reports, *made)}
        stamped = [replace(r, withdrawn_at=NOW) if r.report_id in gone else r for r in kept.values()]
        self.facts = replace(self.facts, reports=tuple(stamped))

    async def look(self, after_min: float = 0.0) -> list[StudyReport]:
        """What is told of the study so long after its last image."""
        clock = FakeClock()
        await clock.advance((NOW - clock.now()).total_seconds() + 60 * after_min)
        await StudyReports(CARDS, SETTINGS, self, clock).once()
        return list(self.facts.reports)


@pytest.mark.parametrize(
    ("answers", "decision", "lead"),
    [
        ([NOTHING, SURE], "finding", 2),
        ([UNSURE, SURE, {**SURE, "probability": 0.95}], "finding", 3),
        ([NOTHING, UNSURE], "abstained", 2),
        ([NOTHING, {**NOTHING, "probability": 0.02}], "no_finding", 2),
    ],
)
async def test_the_rule_of_the_card_says_which_image_decides(
    answers: list[dict[str, Any]], decision: str, lead: int
) -> None:
    """CC20: one report lists every image; the most probable one above the threshold decides, then an abstention."""
    desk = Desk(*answers)
    (report,) = await desk.look()
    assert (report.decision, report.views[0].object_id) == (decision, f"1.2.{lead}")
    assert {each.object_id for each in report.views} == {f"1.2.{n}" for n in range(1, len(answers) + 1)}
    (row,) = desk.rows
    assert (row.result_id, row.action, row.destination) == (report.report_id, "publish", "pacs")


async def test_a_study_is_told_when_its_senders_are_done_and_every_image_has_ended() -> None:
    """CC10: nothing leaves of half a study; what is looked at again and again is told once."""
    desk = Desk(SURE, None)
    desk.facts = replace(desk.facts, receiving=True)
    assert await desk.look() == []
    assert desk.again
    desk.facts = replace(desk.facts, receiving=False)
    assert await desk.look(1) == []
    desk.end(2, "refused", "image quality: it is turned", "rotated")
    for _ in range(2):
        (report,) = await desk.look(1)
        assert not desk.again
    assert [(each.status, each.code) for each in report.views] == [("answered", ""), ("refused", "rotated")]
    assert len(desk.rows) == 1


async def test_a_late_image_and_an_assessment_are_the_next_revisions() -> None:
    """CC10, CC20: revision 2 that follows the first, never a second study and never silence."""
    desk = Desk(NOTHING)
    (first,) = await desk.look()
    desk.add(SURE)
    (second,) = await desk.look()
    assert (second.revision, second.follows, second.decision) == (2, first.report_id, "finding")
    desk.change(2, changed={"assessment": "rejected", "label": "normal"}, changed_at=NOW)
    (third,) = await desk.look()
    assert (third.revision, third.follows, third.changed["label"]) == (3, second.report_id, "normal")
    assert [each.action for each in desk.rows] == ["publish", "publish", "amend"]
    assert len({first.report_id, second.report_id, third.report_id}) == 3


async def test_a_withdrawn_result_takes_its_report_back_and_what_remains_is_told_anew() -> None:
    """CC26: the note first, then the rest of the study without it; of nothing nothing is told."""
    desk = Desk(NOTHING, SURE)
    (first,) = await desk.look()
    desk.change(2, withdrawn_at=NOW)
    (second,) = await desk.look()
    assert desk.gone == [first.report_id]
    assert [each.action for each in desk.rows] == ["publish", "withdraw", "publish"]
    assert (second.revision, second.decision, len(second.views)) == (2, "no_finding", 1)
    desk.change(1, withdrawn_at=NOW)
    await desk.look()
    assert desk.gone == [first.report_id, second.report_id]
    assert [each.action for each in desk.rows][3:] == ["withdraw"]


async def test_refused_and_held_up_studies_say_so() -> None:
    """CC20: each routed study ends in exactly one word, and late analysis replaces it."""
    refused = Desk(None)
    refused.end(1, "refused", "image quality: it is blank", "blank")
    (report,) = await refused.look()
    assert (report.decision, report.views[0].reason) == ("refused", "image quality: it is blank")
    held = Desk(None)
    assert await held.look(14) == []
    (late,) = await held.look(15)
    assert (late.decision, late.views[0].reason, late.task) == ("not_analysed", "not analysed in 15 minutes", "*")
    dead = Desk(None)
    dead.end(1, "dead", "failed: the model refused")
    assert [each.decision for each in await dead.look()] == ["not_analysed"]


async def test_a_refusal_after_the_report_that_nothing_was_analysed_replaces_it() -> None:
    """CC20: no event tells of a refusal, so the study is looked at again, ever less often, and ends in one word."""
    desk = Desk(None)
    (held,) = await desk.look(15)
    assert desk.again
    desk.end(1, "refused", "image quality: it is blank", "blank")
    reports = {each.task: each for each in await desk.look(19)}
    assert (reports[CHEST].decision, desk.gone, desk.again) == ("refused", [held.report_id], False)
    assert [each.action for each in desk.rows] == ["publish", "withdraw", "publish"]
    both = Desk(NOTHING, None)
    (first,) = await both.look(15)
    both.end(2, "refused", "image quality: it is blank", "blank")
    (second,) = await both.look(19)
    assert (second.revision, second.follows, both.gone) == (2, first.report_id, [])
    never = Desk(None)
    await never.look(15)
    await never.look(25 * 60)
    assert not never.again, "nothing could leave any more"


async def test_what_no_model_would_claim_or_what_is_old_is_not_told() -> None:
    """CC20: no report of a CT that nobody routed; a log that is read again sends nothing out."""
    foreign = Desk(None)
    foreign.facts = replace(foreign.facts, objects=(known(1, media_type="", modality="CT"),))
    assert await foreign.look(20) == []
    assert not foreign.again
    not_ours = Desk(None)
    not_ours.end(1, "not_applicable", "no model", task="*")
    assert await not_ours.look(20) == []
    upload = Desk(SURE)
    upload.facts = replace(upload.facts, objects=(known(1, media_type="image/jpeg"),))
    assert await upload.look(1) == [], "a picture belongs to no study that a PACS could put a report into"
    old = Desk(SURE)
    assert await old.look(25 * 60) == []
    assert (old.rows, old.again) == ([], False)
    assert timedelta(hours=SETTINGS.deliver_within_h) < timedelta(hours=25)


async def test_an_image_that_nothing_prepared_is_told_of_where_a_model_would_take_it() -> None:
    """CC20: preparation is away, and still somebody sees that nothing was looked at."""
    desk = Desk(None)
    desk.facts = replace(desk.facts, objects=(known(1, media_type="", blob_uri=""),))
    (report,) = await desk.look(15)
    assert (report.task, report.decision) == ("*", "not_analysed")
