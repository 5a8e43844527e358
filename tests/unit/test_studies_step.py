"""What the step behind the log notes of each object: header, ledger line, rejection (CC10, CC26)."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydicom import Dataset

from adapters.database.instances import Instance
from adapters.database.rejections import Rejection
from adapters.database.studies import Arrived
from adapters.dicom_rejection import KEY_OBJECT_SELECTION, rejection
from adapters.fakes.blobs import FakeBlobs
from consumers.studies import START_BYTES, Studies
from schemas import ids
from schemas.errors import Unprocessable
from schemas.studies import Quiet
from tests.support import steps
from tests.support.dicom_objects import data_set, part_10


class Archive:
    """Notes what it is given."""

    def __init__(self) -> None:
        self.rows: list[Instance] = []
        self.arrived: list[Arrived] = []
        self.rejected: list[Rejection] = []
        self.calls = 0

    async def take(
        self, rows: Sequence[Instance], arrived: Sequence[Arrived], rejected: Sequence[Rejection], quiet: Quiet
    ) -> None:
        """All of it."""
        self.calls += 1
        self.rows += rows
        self.arrived += arrived
        self.rejected += rejected


def selection(title: str, *uids: str) -> bytes:
    """A key object selection with a title, naming objects."""
    code, image, reference = Dataset(), Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = title, "DCM", "title"
    items = []
    for uid in uids:
        image, reference = Dataset(), Dataset()
        reference.ReferencedSOPInstanceUID = uid
        image.ValueType, image.ReferencedSOPSequence = "IMAGE", [reference]
        items.append(image)
    found = data_set(SOPClassUID=KEY_OBJECT_SELECTION, SOPInstanceUID="1.2.9", Modality="KO")
    del found.PixelData
    found.ConceptNameCodeSequence, found.ContentSequence = [code], items
    return part_10(found)


async def done(*files: bytes, **changes: Any) -> Archive:
    """The step's work on these files, one batch."""
    store, archive = FakeBlobs(), Archive()
    events = []
    for number, file in enumerate(files):
        event = steps.image_observed(file, uid=f"1.2.{number}", **changes)
        store.objects[event.blob.uri] = file
        events.append(event)
    with ThreadPoolExecutor(1) as decoders:
        step = Studies(store=store, archive=archive, decoders=decoders, quiet=Quiet(), key=steps.KEY)
        outcomes = await step([steps.delivery(event) for event in events])
    assert outcomes == [()] * len(files), "what becomes of an object is not decided here"
    assert archive.calls == 1, "one transaction a batch"
    return archive


async def test_each_object_is_noted_with_its_header_and_damage_costs_only_itself() -> None:
    long = part_10(data_set(TextValue="x" * (2 * START_BYTES), NumberOfStudyRelatedInstances=7))
    archive = await done(part_10(data_set(PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")), b"junk", long)
    first, broken, last = archive.rows
    assert first.patient_name == "Müller^Jörg"
    assert first.attributes["00100010"]["Value"] == [{"Alphabetic": "Müller^Jörg"}]
    assert (broken.study_instance_uid, broken.attributes) == ("", {}), "found by nobody, but counted"
    assert last.study_instance_uid == first.study_instance_uid
    assert [each.related for each in archive.arrived] == [None, None, 7]


async def test_simulated_objects_are_nobodys() -> None:
    archive = await done(part_10(data_set()), simulated=True)
    assert (archive.rows, archive.arrived) == ([], [])


@pytest.mark.parametrize("title", ["113001", "113037"])
async def test_a_rejection_note_takes_back_what_it_names(title: str) -> None:
    archive = await done(selection(title, "1.1", "1.2", "1.1"), sop_class_uid=KEY_OBJECT_SELECTION)
    assert [each.object_id for each in archive.rejected[:2]] == ["1.1", "1.2"]
    assert title in archive.rejected[0].why


async def test_a_rejection_note_also_takes_back_what_was_de_identified() -> None:
    """CC15: a PACS knows the original, and another row of the table routes what it sends."""
    note = selection("113001", "1.1", ids.own_uid("sr", "1"))
    plain = await done(note, sop_class_uid=KEY_OBJECT_SELECTION)
    patient = ids.pseudonymous_patient(steps.KEY, "HOSPITAL", "4711")
    found = {(each.object_id, each.subject_id) for each in plain.rejected}
    assert (ids.pseudonymous_uid(steps.KEY, "1.1"), ids.subject_id(steps.KEY, "", patient)) in found
    hidden = await done(note, sop_class_uid=KEY_OBJECT_SELECTION, deidentified=True)
    assert [each.object_id for each in hidden.rejected] == ["1.1", ids.own_uid("sr", "1")], "it names pseudonyms"


async def test_a_selection_for_another_reason_takes_nothing_back() -> None:
    archive = await done(selection("113000", "1.1"), b"junk", sop_class_uid=KEY_OBJECT_SELECTION)
    assert archive.rejected == []
    assert rejection(selection("113000", "1.1")) is None
    with pytest.raises(Unprocessable):
        rejection(b"junk")
