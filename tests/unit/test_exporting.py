"""What is said of a result as DICOM report, picture, rejection note and FHIR resources (CC20, CC26)."""

import io
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import highdicom
import msgspec
import numpy as np
import pydicom
import pytest
from fhir.resources.R4B.bundle import Bundle
from pydicom.dataset import Dataset

import triton_models
from adapters import deidentification
from adapters.database.study_reports import Decision, StudyReport, View
from consumers.exporting import account, codes, package, picture
from consumers.exporting.source import TAGS
from schemas import ids
from schemas.errors import Unprocessable
from schemas.events import Heat, Region
from tests.support.dicom_objects import EXPLICIT, IMPLICIT
from tests.support.results_out import CHEST, chest, chest_result, program

CARD = triton_models.discover()[CHEST].card
# "Yamada^Tarou" in Latin, ideographic and phonetic writing (PS3.5 H.3.1), and a name in Latin-1.
JAPANESE = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
LATIN_1 = "Buc^Jérôme".encode("latin-1")


def told(data: bytes, **changes: Any) -> tuple[Dataset, Dataset, dict[str, Any]]:
    """Report, picture and bundle of a result."""
    parcel = package.told(account.of_result(chest_result(observed=1.79e9, **changes), CARD), data)
    report, picture = parcel.objects
    return report, picture, dict(parcel.bundle)


def file(made: Dataset) -> bytes:
    kept = io.BytesIO()
    made.save_as(kept, enforce_file_format=True)
    return kept.getvalue()


def values(made: Dataset, name: str) -> list[Any]:
    """What the content items of that concept say, anywhere in the tree."""
    found = []
    for item in made.get("ContentSequence", []):
        concept = item.get("ConceptNameCodeSequence")
        if concept and concept[0].CodeMeaning == name:
            kind = {"NUM": "MeasuredValueSequence", "CODE": "ConceptCodeSequence", "UIDREF": "UID"}
            value = item.get(kind.get(item.ValueType, "TextValue"))
            found.append(
                float(value[0].NumericValue)
                if item.ValueType == "NUM"
                else value[0].CodeMeaning
                if item.ValueType == "CODE"
                else str(value)
            )
        found += values(item, name)
    return found


def test_the_report_reads_back_to_what_the_model_said(tmp_path: Path) -> None:
    """CC20: TID 1500 with finding, probability, algorithm and tracking ids, unverified and preliminary."""
    (tmp_path / "sr.dcm").write_bytes(file(told(chest())[0]))
    read = highdicom.sr.srread(tmp_path / "sr.dcm")
    assert isinstance(read, highdicom.sr.Comprehensive3DSR)
    content = read.content
    assert isinstance(content, highdicom.sr.MeasurementReport)
    (group,) = content.get_image_measurement_groups()
    assert group.finding_type is not None
    assert group.finding_type.meaning == "Pneumonia"
    assert group.tracking_identifier == "chest_xray/pneumonia"
    (certainty,) = group.get_measurements()
    assert (certainty.value, certainty.unit.value) == (87.3123, "%")
    (present,) = group.get_qualitative_evaluations(name=codes.PRESENCE)
    (summary,) = group.get_qualitative_evaluations(name=codes.OUTCOME)
    assert (present.value, summary.value) == (codes.PRESENT, codes.SUCCEEDED_WITH)
    assert values(read, "Algorithm Name") == [CHEST]
    assert values(read, "Algorithm Version") == ["1.0.0"]
    assert values(read, "Algorithm Family") == ["Artificial Intelligence"]
    assert (read.VerificationFlag, read.PreliminaryFlag, read.CompletionFlag) == (
        "UNVERIFIED",
        "PRELIMINARY",
        "COMPLETE",
    )
    (evidence,) = read.CurrentRequestedProcedureEvidenceSequence
    referred = evidence.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert referred.ReferencedSOPInstanceUID == chest_result().object_id


@pytest.mark.parametrize(
    ("changes", "presence", "outcome", "status"),
    [
        ({"label": "normal", "probability": 0.01}, "Absent", "without findings", "no finding"),
        ({"probability": 0.2, "abstained": True}, "Indeterminate", "without findings", "undecided (perhaps pneumonia)"),
    ],
)
def test_no_finding_and_no_decision_are_said_too(
    changes: dict[str, Any], presence: str, outcome: str, status: str
) -> None:
    """CC26: an abstention is no finding and no absence of one."""
    report, _, bundle = told(chest(), **changes)
    assert values(report, "Presence") == [presence]
    assert values(report, "Summary of Detections")[0].endswith(outcome)
    conclusion = next(e["resource"] for e in bundle["entry"] if e["resource"]["resourceType"] == "DiagnosticReport")
    assert conclusion["conclusion"].endswith(status)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize(
    ("charset", "name"), [(b"\\ISO 2022 IR 87", JAPANESE), (b"ISO_IR 100", LATIN_1)], ids=["iso-2022", "latin-1"]
)
def test_patient_and_study_are_taken_over_byte_for_byte(charset: bytes, name: bytes, syntax: str) -> None:
    """CC20: a name in several writings is the PACS's own name, not our idea of it; issuer and accession number too."""
    plain = pydicom.dcmread(io.BytesIO(chest(syntax=syntax)))
    plain.SpecificCharacterSet = charset.decode().split("\\") if b"\\" in charset else charset.decode()
    plain.PatientName = pydicom.valuerep.PersonName(
        name, encodings=pydicom.charset.convert_encodings(plain.SpecificCharacterSet)
    )
    plain.StudyDescription = "Thorax"
    source = file(plain)
    assert name in source
    for made in told(source)[:2]:
        ours = pydicom.dcmread(io.BytesIO(file(made)), stop_before_pixels=True)
        theirs = pydicom.dcmread(io.BytesIO(source), stop_before_pixels=True)
        copied = [tag for tag, _ in TAGS if tag in theirs]
        assert len(copied) >= 12
        for tag in copied:
            raw_ours, raw_theirs = ours.get_item(tag), theirs.get_item(tag)
            assert raw_ours.value == raw_theirs.value, tag
        assert str(ours.PatientName) == str(theirs.PatientName)


def test_one_result_is_the_same_objects_however_often_it_is_told() -> None:
    """CC20: idempotent; and every UID is under our root."""
    first, again = told(chest()), told(chest())
    for one, other in zip(first[:2], again[:2], strict=True):
        assert file(one) == file(other)
        assert ids.is_own_uid(one.SOPInstanceUID)
        assert len(one.SOPInstanceUID) <= 64
        assert one.Manufacturer == "clinstream"
    assert first[2] == again[2]
    other_result = told(chest(), version="1.0.1")
    assert {each.SOPInstanceUID for each in first[:2]}.isdisjoint({each.SOPInstanceUID for each in other_result[:2]})


def test_the_picture_says_that_it_is_no_diagnosis() -> None:
    """CC26: a series of its own with a high number, burned-in text, and a source; the text changes the pixels."""
    report, picture, _ = told(chest())
    assert picture.SeriesNumber > 9000
    assert picture.SeriesDescription.startswith("AI - not for diagnosis")
    assert picture.BurnedInAnnotation == "YES"
    assert picture.SeriesInstanceUID != report.SeriesInstanceUID
    assert picture.StudyInstanceUID == report.StudyInstanceUID
    assert picture.SourceImageSequence[0].ReferencedSOPInstanceUID == chest_result().object_id
    drawn = picture.pixel_array
    assert drawn.shape[1:] == (768, 3)
    assert (drawn[768:] == (255, 196, 0)).all(axis=2).any(), "the warning is drawn below the image"
    other = told(chest(), label="normal", probability=0.01)[1].pixel_array
    assert (drawn[:768] == other[:768]).all()
    assert (drawn[768:] != other[768:]).any()


def test_an_assessment_amends_the_report_and_a_withdrawal_rejects_it() -> None:
    """CC20: the first report stays and is referred to; the note names everything that was told."""
    result = chest_result(observed=1.79e9)
    first = package.told(account.of_result(result, CARD), chest())
    changed = {"assessment": "rejected", "label": "normal"}
    second = msgspec.structs.replace(result, result_id=uuid4())
    # One thing, two revisions of what is told of it.
    later = account.of_result(second, CARD, told_at=1.79e9 + 60, changed=changed, follows=result.result_id)
    amended = package.told(replace(later, thing=result.result_id), chest())
    before = amended.objects[0].PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert before.ReferencedSOPInstanceUID == first.objects[0].SOPInstanceUID
    assert values(amended.objects[0], "Disagreement with prior findings") == ["Normal"]
    both = [result.result_id, second.result_id]
    gone = package.taken_back(account.of_result(result, CARD, told_at=1.79e9 + 90), chest(), both)
    (note,) = gone.objects
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"
    rejected = {
        item.ReferencedSOPInstanceUID
        for series in note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert rejected == {each.SOPInstanceUID for each in (*first.objects, *amended.objects)}
    states = [
        {e["resource"]["status"] for e in parcel.bundle["entry"] if "status" in e["resource"]}
        for parcel in (first, amended, gone)
    ]
    assert states == [{"preliminary"}, {"corrected", "amended"}, {"entered-in-error"}]
    urls = [{e["request"]["url"] for e in parcel.bundle["entry"]} for parcel in (first, amended, gone)]
    assert urls[0] == urls[2]
    assert urls[0] < urls[1], "the amended bundle has the Provenance besides"
    for parcel in (first, amended, gone):
        Bundle.model_validate(dict(parcel.bundle))


def test_other_programs_find_no_fault_with_the_objects(tmp_path: Path) -> None:
    """CC20: dciodvfy has no errors, dsr2html shows the report; also of several images and of a refused one."""
    result = chest_result(observed=1.79e9)
    amended = account.of_result(result, CARD, changed={"assessment": "rejected", "label": "pneumonia"})
    made = [
        *package.told(account.of_result(result, CARD), chest()).objects,
        *placed(chest()),
        *package.told(amended, chest()).objects,
        *package.taken_back(account.of_result(result, CARD), chest(), [result.result_id]).objects,
        *package.told(replace(amended, edition="deidentified"), chest(), presentation_state=True).objects,
    ]
    refused = View("1.2", uuid4(), "sub-1", "", "refused", None, "image quality: it is turned", "rotated")
    answered = View(result.object_id, result.answer.event_id, "sub-1", "", "answered", result.result_id)
    other = chest(2, StudyInstanceUID="1.2.826.0.1.3680043.8.498.1.2")
    moment = datetime.fromtimestamp(1.79e9, UTC)
    cases: list[tuple[tuple[View, ...], Decision]] = [((answered, refused), "finding"), ((refused,), "refused")]
    for views, decision in cases:
        report = StudyReport(uuid4(), "stu-1", CHEST, 1, "", decision, views, {}, None, moment)
        parcel = package.told(
            account.of_study(report, {result.result_id: result}, CARD), chest(), [other][: len(views) - 1]
        )
        made += parcel.objects
        Bundle.model_validate(dict(parcel.bundle))
    for number, each in enumerate(made):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(file(each))
        judged = subprocess.run([program("dciodvfy"), path], capture_output=True, text=True, check=False)
        assert "Error" not in judged.stderr + judged.stdout, f"{each.Modality}: {judged.stderr}"
    page = subprocess.run([program("dsr2html"), tmp_path / "0.dcm"], capture_output=True, text=True, check=True)
    for words in ("Pneumonia", "87.3123", "Present", "PRELIMINARY", "UNVERIFIED", "Artificial Intelligence"):
        assert words in page.stdout


def test_an_image_that_no_report_can_refer_to_is_said_so() -> None:
    """CC20: without a series there is nothing to refer to."""
    result = account.of_result(chest_result(), CARD)
    with pytest.raises(Unprocessable, match="SeriesInstanceUID"):
        package.told(result, chest(SeriesInstanceUID=None))


HEAT = Heat(rows=2, columns=2, percent=(0, 0, 20, 100), view=(0.9, 0.0, 0.05, 0.0, 1.0, 0.0))
REGIONS = (
    Region(score=0.8, outline=((0.3, 0.25), (0.703, 0.25), (0.703, 0.9), (0.3, 0.9))),
    Region(score=0.3, outline=((0.0, 0.0), (0.1, 0.0), (0.1, 1.0), (0.0, 1.0))),
)


def placed(data: bytes, **changes: Any) -> list[Dataset]:
    """Report, picture and presentation state of a result with places."""
    result = chest_result(observed=1.79e9, **{"heat": HEAT, "regions": REGIONS, **changes})
    return list(package.told(account.of_result(result, CARD), data, presentation_state=True).objects)


def test_the_report_says_where_and_reads_back_to_equal_coordinates(tmp_path: Path) -> None:
    """CC20, ME5: a TID 1410 group a region, on the source image; the marked places are 64 pixels times their shares."""
    (tmp_path / "sr.dcm").write_bytes(file(placed(chest())[0]))
    content = highdicom.sr.srread(tmp_path / "sr.dcm").content
    assert isinstance(content, highdicom.sr.MeasurementReport)
    assert len(content.get_image_measurement_groups()) == 1
    groups = content.get_planar_roi_measurement_groups()
    for group, region in zip(groups, REGIONS, strict=True):
        roi = group.roi
        assert isinstance(roi, highdicom.sr.ImageRegion)
        corners = np.array([*region.outline, region.outline[0]]) * 64
        assert roi.graphic_type == highdicom.sr.GraphicTypeValues.POLYLINE
        assert np.array_equal(roi.value, corners.astype(np.float32))
        assert group.finding_type is not None
        assert group.finding_type.meaning == "Pneumonia"
        (suspicion,) = group.get_measurements()
        assert suspicion.value == region.score
        referred = roi.ContentSequence[0].ReferencedSOPSequence[0]
        assert referred.ReferencedSOPInstanceUID == chest_result().object_id
    assert len({group.tracking_uid for group in groups}) == 2


def test_the_picture_is_marked_where_the_map_is_hot_and_nowhere_else() -> None:
    """ME5, CC26: what is cold keeps its greys; the outline is closed; the text says what the colour means."""
    plain, marked = (told(chest())[1].pixel_array, placed(chest())[1].pixel_array)
    hot, cold = (slice(570, 640), slice(560, 640)), (slice(60, 120), slice(300, 700))
    assert (marked[hot][..., 0].astype(int) > marked[hot][..., 2].astype(int) + 40).all()
    assert np.array_equal(marked[cold], plain[cold])
    assert (marked[192, 235:535] == (255, 196, 0)).all(), "the upper edge, at a quarter of 768"
    assert marked.shape[0] > plain.shape[0], "a line more"


def test_a_presentation_state_outlines_the_regions_where_that_is_asked_for(tmp_path: Path) -> None:
    """CC20: PIXEL coordinates over the untouched image, whose greys it shows alike; DCMTK reads both."""
    state = placed(chest(PhotometricInterpretation="MONOCHROME1", WindowCenter="90", WindowWidth="80"))[2]
    (annotation,) = state.GraphicAnnotationSequence
    drawn = [np.reshape(each.GraphicData, (-1, 2)) for each in annotation.GraphicObjectSequence]
    for each, region in zip(drawn, REGIONS, strict=True):
        corners = np.array([*region.outline, region.outline[0]]) * 64
        assert np.array_equal(each.astype(np.float32), corners.astype(np.float32))
    assert annotation.ReferencedImageSequence[0].ReferencedSOPInstanceUID == chest_result().object_id
    assert "AI - not for diagnosis" in annotation.TextObjectSequence[0].UnformattedTextValue
    assert state.PresentationLUTShape == "INVERSE"
    assert state.SoftcopyVOILUTSequence[0].WindowCenter == 90
    assert (state.SeriesNumber, state.Modality) == (9703, "PR")
    assert ids.is_own_uid(state.SOPInstanceUID)
    (tmp_path / "image.dcm").write_bytes(chest())
    (tmp_path / "state.dcm").write_bytes(file(placed(chest())[2]))
    subprocess.run(
        [program("dcmp2pgm"), "-p", tmp_path / "state.dcm", tmp_path / "image.dcm", tmp_path / "seen.pgm"], check=True
    )
    assert (tmp_path / "seen.pgm").stat().st_size >= 64 * 64


def test_places_are_told_of_a_finding_alone_and_withdrawn_with_it() -> None:
    """CC20, CC26: no region of what is not there; no presentation state that nobody asked for or of a colour image."""
    assert len(placed(chest(), regions=())) == 2
    assert len(placed(chest(), label="normal", probability=0.01)) == 2
    assert (
        len(
            placed(
                chest(SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0, Rows=32, Columns=42)
            )
        )
        == 2
    )
    result = account.of_result(chest_result(observed=1.79e9, heat=HEAT, regions=REGIONS), CARD)
    assert [each.Modality for each in package.told(result, chest()).objects] == ["SR", "OT"]
    uids = [each.SOPInstanceUID for each in placed(chest())]
    assert rejected_by(result, []) == set(uids[:2])
    assert rejected_by(result, uids) == set(uids)


def rejected_by(result: account.Account, sent: list[str]) -> set[str]:
    """What the note of a withdrawal names."""
    (note,) = package.taken_back(result, chest(), [result.result.result_id], sent).objects
    return {
        item.ReferencedSOPInstanceUID
        for series in note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


def test_fhir_tells_the_part_of_the_body_and_the_places_that_the_report_outlines() -> None:
    """CC20: one Observation has the outlines as components, in the pixels of the image that they name."""
    result = chest_result(observed=1.79e9, heat=HEAT, regions=REGIONS)
    parcel = package.told(account.of_result(result, CARD), chest())
    Bundle.model_validate(dict(parcel.bundle))
    observations = {
        each["resource"]["code"]["coding"][0]["display"]: each["resource"]
        for each in parcel.bundle["entry"]
        if each["resource"]["resourceType"] == "Observation"
    }
    said = observations["Pneumonia"]
    assert said["bodySite"]["text"] == "CHEST"
    assert said["bodySite"]["coding"][0]["code"] == "816094009"
    outlines = [each for each in said["component"] if each["code"]["coding"][0]["code"] == "111030"]
    scores = [each for each in said["component"] if each["code"]["coding"][0]["code"] == "SUSPICION"]
    assert [each["valueString"].split()[1:5] for each in outlines] == [
        ["19.2", "16", "44.992", "16"],
        ["0", "0", "6.4", "0"],
    ]
    assert [each["valueQuantity"]["value"] for each in scores] == [0.8, 0.3]
    assert [each["code"]["text"] for each in outlines] == [each["code"]["text"] for each in scores]
    assert outlines[1]["code"]["text"] == f"region 2 of image urn:oid:{result.object_id}"
    gone = package.taken_back(account.of_result(result, CARD), chest(), [result.result_id]).bundle
    Bundle.model_validate(dict(gone))
    assert "111030" not in str(gone), "what was never true is nowhere"


def test_an_edition_without_names_is_made_of_other_objects() -> None:
    """CC15: the same UIDs with another patient would be one object with two contents to whoever gets both."""
    result = account.of_result(chest_result(observed=1.79e9), CARD, follows=uuid4())
    named, nobody = (package.told(each, chest()) for each in (result, replace(result, edition="deidentified")))
    one, two = (
        {str(x) for each in p.objects for x in (each.SOPInstanceUID, each.SeriesInstanceUID)} for p in (named, nobody)
    )
    assert (len(one | two), all(map(ids.is_own_uid, one | two))) == (8, True)
    assert {str(each.SOPInstanceUID) for each in nobody.objects} <= ids.report_uids(result.result.result_id)
    before = [
        p.objects[0].PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        for p in (named, nobody)
    ]
    assert before[0].ReferencedSOPInstanceUID != before[1].ReferencedSOPInstanceUID
    urls = [{each["request"]["url"] for each in p.bundle["entry"]} for p in (named, nobody)]
    assert len(urls[0] & urls[1]) == 1, "only the Device is the same"


def test_an_edition_without_names_tells_no_day_and_one_with_names_the_true_one() -> None:
    """CC15: the day of the analysis is as a rule the day of the study, which the profile takes out of the images."""
    result = account.of_result(
        chest_result(observed=1.79e9, heat=HEAT, regions=REGIONS),
        CARD,
        changed={"assessment": "rejected", "label": "pneumonia"},
    )
    nobody = replace(result, edition="deidentified")
    pseudonymous = deidentification.of_file(chest(), b"k" * 32, "basic", whole=True)
    today = f"{datetime.fromtimestamp(1.79e9):%Y%m%d}"  # noqa: DTZ006 - local, as DICOM's dates are
    for each, image, days in ((nobody, pseudonymous, {"19000101"}), (result, chest(), {today, "20260102", "20210131"})):
        parcel = package.told(each, image, presentation_state=True)
        back = package.taken_back(each, image, [result.result.result_id])
        made = (*parcel.objects, *back.objects)
        assert [one.Modality for one in made] == ["SR", "OT", "PR", "KO"]
        for one in made:
            found = {str(e.value)[:8] for e in one.iterall() if e.VR in ("DA", "DT") and e.value}
            assert found == days, one.Modality
            assert one.ContentDate in ("19000101", today)
            assert one.get("LongitudinalTemporalInformationModified", "") == ("REMOVED" if each is nobody else "")
            assert one.ContentTime.startswith("000000") == (each is nobody)
        for bundle in (parcel.bundle, back.bundle):
            Bundle.model_validate(dict(bundle))
            assert ("2026-09-2" in str(bundle)) == (each is result)
    later = {"observed": 1.80e9, "inferred": 1.80e9, "recorded": 1.80e9}
    answer = msgspec.structs.replace(result.result.answer, hops=later)
    after = msgspec.structs.replace(result.result, answer=answer)
    shown = np.zeros((64, 64), dtype=np.uint8)
    for each, same in ((nobody, True), (result, False)):
        assert np.array_equal(picture.draw(each, shown), picture.draw(replace(each, result=after), shown)) == same
