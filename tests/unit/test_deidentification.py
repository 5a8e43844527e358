"""De-identification: nothing that names somebody survives, equal stays equal, the identity can be given back (CC15)."""

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.datadict import dictionary_VR
from pydicom.filereader import read_dataset

from adapters import confidentiality, deidentification, deidentifying_walk, sealing
from adapters.confidentiality import Profile
from adapters.dicom_patient import COPIED
from adapters.dicom_reading import decode_dicom
from adapters.part_ten import take_apart
from producers import dicom_identity
from schemas import ids
from schemas.errors import Unprocessable
from tests.support.dicom_objects import BIG, DEFLATED, EXPLICIT, IMPLICIT, data_set, encoded, part_10

KEY = b"k" * 32
SECRET = "SECRET"
UID = "1.2.826.0.1.3680043.8.498"
REAL = Path(__file__).parents[2].parent / "shared" / "data" / "dicom"
VALUES: dict[str, Any] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), SECRET),
    "DA": "20260314",
    "TM": "031415",
    "DT": "20260314031415",
    "AS": "031Y",
    "UR": "http://secret.example/SECRET",
    "UI": f"{UID}.77",
    "OB": b"SECRET",
    "UN": b"SECRET",
}
TRACES = (b"SECRET", b"20260314", b"031Y", UID.encode(), b"Doe", b"4711", b"HOSPITAL")


def filled() -> Dataset:
    """A data set with every element of the profile that can hold a text, a day or a UID; `TRACES` are found in it."""
    found = Dataset()
    single, _ = confidentiality._table()
    for tag in single:
        if tag >> 16 < 8 or tag >= 0x7FE00000:
            continue
        try:
            vr = dictionary_VR(tag)
        except KeyError:
            vr = "LO"
        if vr == "SQ":
            item = Dataset()
            item.PatientName = f"{SECRET}^Nested"
            item.ReferencedSOPInstanceUID = f"{UID}.78"
            found.add_new(tag, "SQ", [item])
        elif vr in VALUES:
            found.add_new(tag, vr, VALUES[vr])
    return found


def whole() -> Dataset:
    """That within an image, at its root and in a sequence that stays, with private elements and unknown ones."""
    found = data_set(PatientBirthDate="19700101", BurnedInAnnotation="NO")
    filling = filled()
    for element in filled():
        if element.tag not in found:
            found.add(element)
    filling.add_new(0x00091001, "LO", SECRET)
    found.add_new(0x00540016, "SQ", [filling])  # Radiopharmaceutical Information Sequence: no business of the profile
    found.add_new(0x00090010, "LO", "SECRET CREATOR")
    found.add_new(0x00091001, "LO", SECRET)
    found.add_new(0x00189FFE, "LO", SECRET)
    found.add_new(0x60000022, "LO", "a label")
    found.add_new(0x60004000, "LT", SECRET)
    found.add_new(0x60023000, "OB", b"SECRET")
    found.add_new(0xFFFCFFFC, "OB", b"SECRET")
    return found


def read(data: bytes, syntax: str = EXPLICIT) -> Dataset:
    if syntax == DEFLATED:
        import zlib

        data = zlib.decompress(data, -15)
    return read_dataset(BytesIO(data), syntax == IMPLICIT, syntax != BIG)


@pytest.mark.parametrize("how", ["basic", "characteristics"])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
def test_nothing_of_the_profile_survives_at_any_depth_and_the_pixels_do(syntax: str, how: Any) -> None:
    """Names, ids, days, UIDs, private and unknown elements, overlays, in every encoding."""
    before = encoded(whole(), syntax)
    made = deidentification.on_the_wire(before, syntax, KEY, how)
    after = read(made.data, syntax)
    assert all(trace in encoded(whole()) for trace in TRACES)
    if how == "characteristics":
        assert after.EthnicGroup == SECRET
        for dataset in (after, after[0x00540016].value[0]):
            for tag in confidentiality.CHARACTERISTICS & set(dataset.keys()):
                del dataset[tag]
    assert [trace for trace in TRACES if trace in encoded(after)] == []
    assert after.PixelData == bytes(range(128))
    assert (after.Rows, after.Modality, after.PhotometricInterpretation) == (8, "CT", "MONOCHROME2")
    assert len(after[0x00540016].value) == 1
    assert not [element for element in after.iterall() if element.tag.is_private]
    assert (after.PatientIdentityRemoved, after.LongitudinalTemporalInformationModified) == ("YES", "REMOVED")
    assert after.DeidentificationMethodCodeSequence[0].CodeValue == "113100"


def test_patient_characteristics_stay_where_a_row_says_so() -> None:
    """A model that wants to know the age would refuse everybody."""
    data = encoded(data_set(PatientAge="007Y", PatientSex="F", PatientSize="1.2", PatientBirthDate="20190101"))
    kept = read(deidentification.on_the_wire(data, EXPLICIT, KEY, "characteristics").data)
    gone = read(deidentification.on_the_wire(data, EXPLICIT, KEY, "basic").data)
    assert (kept.PatientAge, kept.PatientSex, kept.PatientSize, kept.PatientBirthDate) == ("007Y", "F", 1.2, "")
    assert ("PatientAge" in gone, gone.PatientSex, "PatientSize" in gone) == (False, "", False)
    assert "113108" in [code.CodeValue for code in kept.DeidentificationMethodCodeSequence]


@pytest.mark.parametrize(
    ("born", "seen", "age"),
    [
        ("20190314", "20260313", "006Y"),
        ("20190314", "20260314", "007Y"),
        ("20241120", "20260314", "001Y"),
        ("20260314", "20260313", None),
        ("", "20260314", None),
    ],
)
def test_the_age_is_told_where_the_days_that_tell_it_go(born: str, seen: str, age: str | None) -> None:
    """Many devices send the day of birth alone; a model that limits the age would abstain on everybody."""
    data = encoded(data_set(PatientBirthDate=born, StudyDate=seen))
    kept = read(deidentification.on_the_wire(data, EXPLICIT, KEY, "characteristics").data)
    assert (kept.get("PatientAge"), kept.PatientBirthDate, kept.StudyDate) == (age, "", "")
    assert "PatientAge" not in read(deidentification.on_the_wire(data, EXPLICIT, KEY, "basic").data)


def test_one_object_from_two_senders_and_a_repeat_is_one_pseudonymous_object() -> None:
    """Equal ids stay equal, whatever the encoding and the rest of the header; another key or issuer is another."""

    def of(found: Dataset, syntax: str = EXPLICIT, key: bytes = KEY) -> tuple[str, ...]:
        after = read(deidentification.on_the_wire(encoded(found, syntax), syntax, key, "basic").data, syntax)
        return tuple(str(after.get(k)) for k in ("StudyInstanceUID", "SOPInstanceUID", "PatientID", "AccessionNumber"))

    one = of(data_set(AccessionNumber="A1"))
    assert one == of(data_set(AccessionNumber="A1", PatientName="DOE^JANE^^^", StationName="PACS"), IMPLICIT)
    assert all(new.startswith("2.25.") and len(new) <= 64 for new in one[:2])
    assert (len(one[3]), len({*one})) == (16, 4)
    assert not {*one} & {*of(data_set(AccessionNumber="A1"), key=b"x" * 32)}
    assert of(data_set(IssuerOfPatientID="OTHER"))[2] != one[2]
    data = encoded(whole())
    assert deidentification.on_the_wire(data, EXPLICIT, KEY, "basic") == deidentification.on_the_wire(
        data, EXPLICIT, KEY, "basic"
    )


def test_references_point_to_what_they_pointed_to_and_uids_that_tell_nobody_stay() -> None:
    """UIDs are consistent among objects; those of the standard and of our own reports are as they were."""
    found, item, own = data_set(), Dataset(), ids.own_uid("sr", "1")
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"{UID}.1"
    other = Dataset()
    other.ReferencedSOPInstanceUID = own
    found.ReferencedImageSequence = [item, other]
    found.FrameOfReferenceUID = "1.2.840.10008.1.4.1.1"
    after = read(deidentification.on_the_wire(encoded(found), EXPLICIT, KEY, "basic").data)
    one, two = after.ReferencedImageSequence
    assert (one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID) == (
        item.ReferencedSOPClassUID,
        after.SOPInstanceUID,
    )
    assert (two.ReferencedSOPInstanceUID, after.FrameOfReferenceUID) == (own, "1.2.840.10008.1.4.1.1")


def test_a_document_keeps_codes_and_references_and_loses_what_is_said_in_words() -> None:
    """A rejection note or assessment from a reading room still says what it is about."""
    words, reference, code = Dataset(), Dataset(), Dataset()
    words.ValueType, words.TextValue = "TEXT", SECRET
    code.ValueType = "CODE"
    code.ConceptCodeSequence = [deidentifying_walk._coded("122776", "Disagreement")]
    target = Dataset()
    target.ReferencedSOPClassUID, target.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"{UID}.1"
    reference.ValueType, reference.ReferencedSOPSequence = "IMAGE", [target]
    reference.ContentSequence = [words]
    found = data_set(ContentSequence=[words, reference, code])
    after = read(deidentification.on_the_wire(encoded(found), EXPLICIT, KEY, "basic").data)
    assert [item.ValueType for item in after.ContentSequence] == ["IMAGE", "CODE"]
    assert after.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == after.SOPInstanceUID
    assert SECRET.encode() not in encoded(after)


def test_an_object_whose_pixels_say_who_it_is_or_that_is_damaged_is_refused() -> None:
    """Nobody cleans pixels here; a refusal quotes nothing."""
    with pytest.raises(Unprocessable, match="Burned In Annotation"):
        deidentification.on_the_wire(encoded(data_set(BurnedInAnnotation="YES")), EXPLICIT, KEY, "basic")
    damaged = encoded(data_set(PixelData=None)) + b"\x54\x00\x16\x00SQ\0\0\xff\xff\xff\xffSECRET^P"
    with pytest.raises(Unprocessable) as refused:
        deidentification.on_the_wire(damaged, EXPLICIT, KEY, "basic")
    assert SECRET not in str(refused.value)
    with pytest.raises(Unprocessable, match="transfer syntax"):
        deidentification.on_the_wire(encoded(data_set()), "1.2.840.10008.1.2.4.95", KEY, "basic")


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_patient_and_study_come_back_byte_for_byte(syntax: str) -> None:
    """Names in several writings would not come out of a decoder as they went in."""
    japanese = b"\x1b$B;3\x1b(B"
    found = data_set(
        SpecificCharacterSet=["", "ISO 2022 IR 87"],
        AccessionNumber="A1",
        StudyDescription="Chest",
        StudyDate="20260314",
    )
    data = encoded(found, syntax)
    data = data.replace(b"Doe^Jane", japanese)
    original = part_10(found, syntax).replace(b"Doe^Jane", japanese)
    made = deidentification.on_the_wire(data, syntax, KEY, "basic")
    file = part_10(read(made.data, syntax), syntax)
    assert deidentification.is_pseudonymous(file, KEY)
    assert not deidentification.is_pseudonymous(original, KEY)
    assert not deidentification.is_pseudonymous(file, b"x" * 32), "another installation's object is as it came"
    back = dcmread(BytesIO(deidentification.given_back(file, made.identity, whole=True)))
    before = dcmread(BytesIO(original))
    for keyword in (*COPIED, "SOPInstanceUID", "SeriesInstanceUID"):
        one, two = (each.get_item(keyword) if keyword in each else None for each in (back, before))
        assert (one and one.value) == (two and two.value), keyword
    assert back.PixelData == before.PixelData
    assert back.is_implicit_VR == (syntax == IMPLICIT)


def test_whether_an_object_is_pseudonymous_is_known_of_every_transfer_syntax() -> None:
    """It is asked of each image that is told of, also where nothing could be de-identified."""
    for syntax in (BIG, DEFLATED):
        told = deidentification.on_the_wire(encoded(data_set(), syntax), syntax, KEY, "basic").data
        assert deidentification.is_pseudonymous(part_10(read(told, syntax), syntax), KEY)
    plain = part_10(data_set(), DEFLATED)
    assert not deidentification.is_pseudonymous(plain, KEY)
    referenced = plain.replace(f"{DEFLATED}".encode(), b"1.2.840.10008.1.2.4.95")
    assert referenced != plain
    assert not deidentification.is_pseudonymous(referenced, KEY)


def test_a_stored_file_leaves_without_names_once_and_with_the_same_pseudonyms() -> None:
    """A destination that may know nobody is told of an object stored with names, and of one stored without."""
    stored = part_10(data_set())
    told = deidentification.of_file(stored, KEY, "basic", whole=True)
    door = read(deidentification.on_the_wire(encoded(data_set()), EXPLICIT, KEY, "basic").data)
    found = dcmread(BytesIO(told))
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "SOPInstanceUID", "PixelData"):
        assert found[keyword].value == door[keyword].value
    assert deidentification.of_file(told, KEY, "basic", whole=True) == told
    assert "PixelData" not in dcmread(BytesIO(deidentification.of_file(stored, KEY, "basic", whole=False)))


def test_a_seal_opens_with_its_key_at_its_place_and_is_the_same_each_time() -> None:
    """A repeat is the same object in the store; what is sealed is not to be read there."""
    sealed = sealing.seal(KEY, "identities/ab/1", b"Doe^Jane")
    assert sealed == sealing.seal(KEY, "identities/ab/1", b"Doe^Jane")
    assert b"Doe" not in sealed
    assert sealing.unseal(KEY, "identities/ab/1", sealed) == b"Doe^Jane"
    for key, place, data in (
        (b"x" * 32, "identities/ab/1", sealed),
        (KEY, "identities/ab/2", sealed),
        (KEY, "identities/ab/1", sealed[:-1]),
        (KEY, "identities/ab/1", b"Doe^Jane"),
    ):
        with pytest.raises(Unprocessable):
            sealing.unseal(key, place, data)


def test_the_table_of_the_profile_is_whole() -> None:
    """A release of the library that lost a category would leave names in: held to PS3.15's own rows."""
    profile = Profile()
    assert len(confidentiality._table()[0]) > 640
    said = {0x00100010: "empty", 0x00100020: "dummy", 0x00080018: "uid", 0x00081030: "remove", 0x50100010: "remove"}
    said |= {0x60023000: "remove", 0x00280010: "keep", 0x00091001: "remove", 0x00081140: "items", 0x7FE00010: "keep"}
    assert {tag: profile.action(tag) for tag in said} == said


@pytest.mark.skipif(not REAL.is_dir(), reason="the shared DICOM files are not here")
def test_real_files_lose_who_they_are_of_get_it_back_and_decode_alike() -> None:
    """Devices write what no standard foresees; the content of an image, by which a repeat is known, stays the same."""
    made = 0
    for path in sorted(REAL.rglob("*"))[::9]:
        if not path.is_file() or path.stat().st_size > 1 << 20:
            continue
        content = path.read_bytes()
        try:
            file = take_apart(content)
            header = dicom_identity.read_header(file.data, file.transfer_syntax_uid)
            told = deidentification.on_the_wire(file.data, file.transfer_syntax_uid, KEY, "basic")
        except Unprocessable:
            continue
        made += 1
        meta = content[: len(content) - len(file.data)]
        for uid in (header.study_instance_uid, header.sop_instance_uid):
            assert not uid or uid.startswith(ids.STANDARD_ROOT) or uid.encode() not in told.data, path
        back = take_apart(deidentification.given_back(meta + told.data, told.identity, whole=False))
        assert dicom_identity.read_header(back.data, back.transfer_syntax_uid) == header, path
        assert shades(meta + told.data) == shades(content), path
    assert made > 20


def shades(content: bytes) -> bytes | None:
    """The decoded pixels of a file; None where there are none to be had."""
    try:
        return decode_dicom(content).stored.tobytes()
    except Unprocessable:
        return None
