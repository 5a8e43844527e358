"""What the DICOM door reads of a data set, and the pseudonyms and priorities that follow (CC14, CC21, CC28)."""

import zlib

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from producers import dicom_identity
from producers.dicom_identity import SIMULATED_MARK, WRAPPED_MARK, Header, read_header
from schemas.errors import Unprocessable
from schemas.routing import Table
from tests.support.dicom_objects import BIG, CT, DEFLATED, EXPLICIT, IMPLICIT, data_set, encoded

KEY = b"k" * 32


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_the_header_is_the_same_in_every_uncompressed_transfer_syntax(syntax: str) -> None:
    header = read_header(encoded(data_set(), syntax), syntax)
    assert header == Header(
        CT, "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2", "4711", "HOSPITAL", modality="CT"
    )


def test_a_data_set_cut_off_in_its_pixels_still_has_its_header() -> None:
    assert read_header(encoded(data_set())[:-100], EXPLICIT).modality == "CT"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<html><body>Not found</body></html>" * 20, "cannot be read|no SOP Instance UID"),
        (encoded(data_set(SOPInstanceUID=None)), "no SOP Instance UID"),
        (encoded(data_set(SOPClassUID=None)), "no SOP Class UID"),
        (encoded(data_set())[:40], "no SOP Instance UID|cannot be read"),
    ],
)
def test_what_cannot_be_identified_is_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(Unprocessable, match=reason):
        read_header(data, EXPLICIT)


@pytest.mark.parametrize("uid", [b"1.2.3;DROP TABLE", b"Doe^Jane", b"1.2." + b"9" * 62])
def test_a_malformed_uid_is_refused_without_being_quoted(uid: bytes) -> None:
    whole = encoded(data_set(SOPInstanceUID="1.2.3", PatientName=None))
    start = whole.index(b"\x08\x00\x18\x00UI")
    value = uid + b"\0" * (len(uid) % 2)
    damaged = whole[:start] + b"\x08\x00\x18\x00UI" + len(value).to_bytes(2, "little") + value + whole[start + 14 :]
    with pytest.raises(Unprocessable, match="malformed") as caught:
        read_header(damaged, EXPLICIT)
    assert uid.decode() not in str(caught.value)


def test_a_small_deflated_data_set_that_inflates_without_end_is_refused_in_bounded_memory() -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = packer.compress(bytes(64 << 20)) + packer.flush()
    with pytest.raises(Unprocessable):
        read_header(bomb, DEFLATED)


def test_one_patient_is_one_subject_whatever_the_name_the_sender_and_the_transfer_syntax() -> None:
    first = read_header(encoded(data_set(PatientName="Doe^Jane")), EXPLICIT)
    second = read_header(encoded(data_set(PatientName="DOE JANE "), IMPLICIT), IMPLICIT)
    assert dicom_identity.subject_of(KEY, first) == dicom_identity.subject_of(KEY, second)
    assert dicom_identity.study_of(KEY, first) == dicom_identity.study_of(KEY, second)


def test_the_same_patient_id_from_two_issuers_is_two_subjects() -> None:
    ours, theirs = (read_header(encoded(data_set(IssuerOfPatientID=name)), EXPLICIT) for name in ("A", "B"))
    assert dicom_identity.subject_of(KEY, ours) != dicom_identity.subject_of(KEY, theirs)


def test_without_a_patient_id_each_study_is_a_subject_of_its_own() -> None:
    subjects = {
        dicom_identity.subject_of(KEY, read_header(encoded(data_set(PatientID=None, StudyInstanceUID=uid)), EXPLICIT))
        for uid in ("1.2.3", "1.2.3", "1.2.4", None)
    }
    assert len(subjects) == 3


def test_pseudonyms_change_with_the_key_and_show_nothing_of_the_patient() -> None:
    header = read_header(encoded(data_set()), EXPLICIT)
    subject = dicom_identity.subject_of(KEY, header)
    assert subject != dicom_identity.subject_of(b"x" * 32, header)
    assert "4711" not in subject
    assert "4711" not in repr(header)


def _with_order(priority: str, *, nested: bool) -> bytes:
    found = data_set()
    order = Dataset()
    (order if nested else found).RequestedProcedurePriority = priority
    if nested:
        found.RequestAttributesSequence = Sequence([order])
    return encoded(found)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(("priority", "lane"), [("STAT", "stat"), ("HIGH", "stat"), ("ROUTINE", "routine")])
def test_the_order_decides_the_priority(priority: str, lane: str, nested: bool) -> None:
    header = read_header(_with_order(priority, nested=nested), EXPLICIT)
    assert Table().route(dicom_identity.facts_of(header, "CT", "CLINSTREAM", 0)).lane == lane


@pytest.mark.parametrize(
    ("called", "requested", "lane"),
    [
        ("CLINSTREAM", 1, "stat"),
        ("CLINSTREAM", 2, "routine"),
        ("CLINSTREAM", None, "routine"),
        ("CLINSTREAM_STAT", 2, "stat"),
    ],
)
def test_the_sender_decides_the_priority(called: str, requested: int | None, lane: str) -> None:
    header = read_header(encoded(data_set()), EXPLICIT)
    assert Table().route(dicom_identity.facts_of(header, "CT", called, requested)).lane == lane


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_the_marks_of_our_own_sender_are_found_among_other_equipment(syntax: str) -> None:
    items = []
    for text in ("somebody's gateway", WRAPPED_MARK, SIMULATED_MARK):
        item = Dataset()
        item.ContributionDescription = text
        items.append(item)
    marked = read_header(encoded(data_set(ContributingEquipmentSequence=items), syntax), syntax)
    plain = read_header(encoded(data_set(ContributingEquipmentSequence=items[:1]), syntax), syntax)
    assert (marked.wrapped, marked.simulated) == (True, True)
    assert (plain.wrapped, plain.simulated) == (False, False)


def test_a_simulated_object_shares_no_identity_with_the_clinical_one() -> None:
    header = read_header(encoded(data_set()), EXPLICIT)
    assert dicom_identity.object_of(header, simulated=False) == header.sop_instance_uid
    assert dicom_identity.object_of(header, simulated=True) != header.sop_instance_uid
