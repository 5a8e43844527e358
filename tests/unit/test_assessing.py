"""A document that a PACS sends back and names a report of ours is an assessment of the result behind it (CC20)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydicom import Dataset

from adapters.database import Told
from adapters.dicom_rejection import KEY_OBJECT_SELECTION
from adapters.fakes.blobs import FakeBlobs
from adapters.fakes.clock import FakeClock
from consumers import assessing
from consumers.outcomes import Decide, Publish
from consumers.prepare import Prepare
from schemas import ids, topics
from schemas.events import ImageObserved, ResultAssessed
from tests.support import steps
from tests.support.dicom_objects import data_set, part_10

ENHANCED_SR = "1.2.840.10008.5.1.4.1.1.88.22"
KO_UID = "1.2.276.77"
RESULT, OTHER = UUID(int=1), uuid4()
REPORT, PICTURE = ids.own_uid("sr", "1"), ids.own_uid("sc", "1")
IMAGE = "1.2.276.1"
AGREES, DISAGREES = "122775", "122776"


def code(value: str, scheme: str = "DCM", meaning: str = "?") -> list[Dataset]:
    """A code sequence."""
    found = Dataset()
    found.CodeValue, found.CodingSchemeDesignator, found.CodeMeaning = value, scheme, meaning
    return [found]


def item(kind: str, concept: str = "", **values: Any) -> Dataset:
    """A content item."""
    found = Dataset()
    found.ValueType = kind
    if concept:
        found.ConceptNameCodeSequence = code(concept)
    for name, value in values.items():
        setattr(found, name, value)
    return found


def named(*uids: str) -> list[Dataset]:
    """References, as content items."""
    found = []
    for uid in uids:
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = ENHANCED_SR, uid
        found.append(item("COMPOSITE", ReferencedSOPSequence=[reference]))
    return found


def document(sop_class: str, title: str, *content: Dataset, **changes: Any) -> bytes:
    """A PS3.10 file of a document without pixels."""
    found = data_set(SOPClassUID=sop_class, SOPInstanceUID=KO_UID, Modality="KO", **changes)
    del found.PixelData
    found.ConceptNameCodeSequence, found.ContentSequence = code(title), list(content)
    return part_10(found)


def selection(title: str, *uids: str, words: str = "", **changes: Any) -> bytes:
    """A key object selection, described in words."""
    described = [item("TEXT", "113012", TextValue=words)] if words else []
    return document(KEY_OBJECT_SELECTION, title, *named(*uids), *described, **changes)


def reported(*content: Dataset, **changes: Any) -> bytes:
    """A structured report that names our report."""
    return document(ENHANCED_SR, "126000", *named(REPORT), item("CONTAINER", ContentSequence=list(content)), **changes)


class Lane:
    """The step from stored objects, in front of a database that sent the report and the picture of one result."""

    def __init__(self, decoders: ThreadPoolExecutor) -> None:
        self.ledger, self.store = steps.FakeLedger(), FakeBlobs()
        told = ids.subject_id(steps.KEY, "", "patient"), "stu-1", Told(RESULT, "toy_image", "ill")
        self.ledger.left = {REPORT: told, PICTURE: told}
        models = {"toy_image": steps.image_model()}
        around: Any = {"store": self.store, "database": self.ledger, "decoders": decoders}
        self.step = Prepare("routine", models, clock=FakeClock(steps.NOW.timestamp()), key=steps.KEY, **around)

    async def take(self, data: bytes, **changes: Any) -> tuple[list[ResultAssessed], str]:
        """The assessments that a document makes, and the reason with which it ends."""
        values = {"uid": KO_UID, "modality": "KO", "sop_class_uid": KEY_OBJECT_SELECTION, **changes}
        event: ImageObserved = steps.image_observed(data, **values)
        self.store.objects[event.blob.uri] = data
        (outcomes,) = await self.step([steps.delivery(event, topic=topics.OBSERVED_DICOM)])
        *said, end = outcomes
        assert isinstance(end, Decide)
        assert (end.outcome.fate, end.outcome.task, end.outcome.event_id) == ("not_applicable", "*", event.event_id)
        made = []
        for each in said:
            assert isinstance(each, Publish)
            assert isinstance(each.event, ResultAssessed)
            assert (each.topic, each.key) == (topics.OVERRIDES, str(each.event.result_id).encode())
            assert each.id == str(each.event.override_id)
            made.append(each.event)
        return made, end.outcome.reason


@pytest.fixture
def lane() -> Iterator[Lane]:
    with ThreadPoolExecutor(1) as decoders:
        yield Lane(decoders)


@pytest.mark.parametrize(
    ("title", "words", "verdict", "label"),
    [
        ("113000", "", "accepted", ""),
        ("113000", "Ill", "accepted", ""),
        ("113000", " Well. ", "supplemented", "well"),
        ("113010", "", "rejected", ""),
        ("113010", "WELL", "rejected", "well"),
        ("113010", "ill", "rejected", ""),
        ("113001", "Ms Doe was well, see letter", "rejected", ""),
        ("113037", "", "rejected", ""),
    ],
)
async def test_a_selection_of_our_report_says_what_its_title_and_description_say(
    lane: Lane, title: str, words: str, verdict: str, label: str
) -> None:
    (made,), _ = await lane.take(selection(title, REPORT, words=words))
    assert (made.result_id, made.verdict, made.label) == (RESULT, verdict, label)
    assert (made.sender, made.assessed_at) == ("dicom", steps.NOW)


@pytest.mark.parametrize(
    ("content", "verdict", "label"),
    [
        ([item("CODE", AGREES, ConceptCodeSequence=code("ILL", "99CLINSTREAM"))], "accepted", ""),
        ([item("CODE", AGREES, ConceptCodeSequence=code("WELL", "99CLINSTREAM"))], "supplemented", "well"),
        ([item("CODE", DISAGREES, ConceptCodeSequence=code("1", "LOCAL", "Well"))], "rejected", "well"),
        ([item("CODE", "111005", ConceptCodeSequence=code(AGREES))], "accepted", ""),
        ([item("CODE", AGREES), item("TEXT", DISAGREES, TextValue="no")], "rejected", ""),
    ],
)
async def test_a_structured_report_says_so_by_agreement_or_disagreement(
    lane: Lane, content: list[Dataset], verdict: str, label: str
) -> None:
    (made,), _ = await lane.take(reported(*content), sop_class_uid=ENHANCED_SR)
    assert (made.verdict, made.label) == (verdict, label)


async def test_the_reader_is_a_pseudonym_and_a_repeat_is_one_assessment(lane: Lane) -> None:
    """The same document is the same assessment, however often and from whomever it comes; another one is not."""
    observer = item("PNAME", "121008", PersonName="Reader^Rita")
    data = document(KEY_OBJECT_SELECTION, "113010", observer, *named(REPORT, PICTURE, REPORT))
    (first,), _ = await lane.take(data)
    (again,), _ = await lane.take(data, sender="OTHER_PACS")
    (second,), _ = await lane.take(data, uid="1.2.276.78")
    assert first.clinician_id == ids.clinician_id(steps.KEY, "Reader^Rita")
    assert "rita" not in repr(first).casefold()
    assert first.override_id == again.override_id != second.override_id
    (nameless,), reason = await lane.take(selection("113010", REPORT))
    assert nameless.clinician_id == ids.clinician_id(steps.KEY, "reader at TEST")
    assert "rejected" in reason


async def test_what_is_no_assessment_of_ours_is_stored_and_ends_with_its_reason(lane: Lane) -> None:
    cases: list[tuple[bytes, dict[str, Any], str]] = [
        (selection("113000", IMAGE), {}, "no model claims"),
        (selection("113001", IMAGE, REPORT), {}, "no model claims"),
        (selection("113004", REPORT), {}, assessing.NO_WORD),
        (reported(), {"sop_class_uid": ENHANCED_SR}, assessing.NO_WORD),
        (selection("113000", ids.own_uid("sr", "2")), {}, assessing.UNKNOWN),
        (selection("113000", REPORT), {"subject_id": "sub-2"}, assessing.UNKNOWN),
        (selection("113010", REPORT, Manufacturer="clinstream"), {}, "made by this system"),
        (selection("113010", REPORT), {"uid": ids.own_uid("ko", "1")}, "made by this system"),
        (selection("113010", REPORT), {"simulated": True}, "no model claims"),
    ]
    for data, changes, expected in cases:
        made, reason = await lane.take(data, **changes)
        assert made == []
        assert expected in reason
    (own,), _ = await lane.take(selection("113010", REPORT), subject_id="sub-2", study_id="stu-1")
    assert own.result_id == RESULT, "the study is the result's own, whatever a PACS did to the patient's number"


async def test_a_damaged_document_says_nothing(lane: Lane) -> None:
    whole = selection("113010", REPORT)
    place = whole.index(REPORT.encode())
    made, reason = await lane.take(whole[: place - 9] + b"\xff" * 8 + whole[place - 1 :])
    assert (made, "no model claims" in reason) == ([], True)


async def test_a_reader_who_knows_the_original_study_assesses_the_report_of_the_de_identified_one(lane: Lane) -> None:
    """CC15: the report went back with its patient, and the document comes in by another row of the table."""
    study = str(data_set().StudyInstanceUID)
    pseudonym = ids.study_id(steps.KEY, ids.pseudonymous_uid(steps.KEY, study))
    lane.ledger.left = {REPORT: ("sub-deidentified", pseudonym, Told(RESULT, "toy_image", "ill"))}
    ((said,), _) = await lane.take(selection("113000", REPORT), subject_id="sub-other")
    assert (said.result_id, said.verdict) == (RESULT, "accepted")
