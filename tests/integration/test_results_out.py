"""Visible results on the real log reach a real PACS, once, and what comes back from there is no new image (CC20)."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest
from highdicom import ko
from pydantic import SecretStr
from pydicom.sr.coding import Code

import triton_models
from adapters import bootstrap, dicom_reading, topics_admin
from adapters.bootstrap import Services
from adapters.clock import SystemClock
from adapters.settings import ExportSettings, Settings
from clinstream import leaving
from consumers import assessing, pipelines, route
from consumers.outcomes import Decide, Publish
from consumers.overrides import Overrides
from consumers.prepare import Prepare
from consumers.relay import Relay
from consumers.studies import Studies
from producers import store_request
from producers.store_request import StoreRequest
from schemas import envelope, ids, topics
from schemas.events import (
    ImageObserved,
    OutcomeDecided,
    ResultAmended,
    ResultWithdrawn,
)
from schemas.studies import Quiet
from tests.support import results_out, steps
from tests.support.doors import KEY, Doors, doors_of, log_of
from tests.support.results_leaving import amend, exporting, over, say, stored, visible
from tests.support.results_out import SECONDS, Pacs, chest, chest_result

CARDS = [model.card for model in triton_models.discover().values()]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    with results_out.orthanc(tmp_path_factory.mktemp("pacs")) as found:
        yield found


@pytest.fixture
async def services(
    kafka_settings: Settings, fresh_database: Settings, tmp_path: Path, pacs: Pacs
) -> AsyncIterator[Services]:
    places = {"pacs": pacs.destination, "research": pacs.destination.model_copy(update={"deidentify": "basic"})}
    update = {
        "home": tmp_path,
        "store_url": (tmp_path / "store").as_uri(),
        "kafka": kafka_settings.kafka,
        "exports": ExportSettings(destinations=places, default=("pacs",)),
        "pseudonym_key": SecretStr(KEY),
    }
    settings = fresh_database.model_copy(update=update)
    await asyncio.to_thread(topics_admin.ensure_topics, settings, [card.name for card in CARDS])
    async with bootstrap.services(settings, pipelines.PIPELINES["exports"].needs) as found:
        yield found


async def test_a_result_its_correction_and_its_withdrawal_reach_the_pacs_once(services: Services, pacs: Pacs) -> None:
    """CC20: from the results topic into Orthanc, confirmed by query; repeats and late ones make nothing."""
    result = chest_result(7)
    old = chest_result(8, observed=time.time() - 25 * 3600)
    await visible(services, result, chest(7), ("pacs",))
    await visible(services, old, chest(8))
    kept = chest_result(10)
    await visible(services, kept, chest(10), ())
    same: dict[str, Any] = {
        "result_id": result.result_id,
        "object_id": result.object_id,
        "subject_id": result.subject_id,
        "task": result.task,
        "revision": 1,
    }
    changed = {"assessment": "rejected", "label": "normal"}
    async with exporting(services):
        await say(services, old, str(old.result_id))
        await say(services, kept, str(kept.result_id))
        for _ in range(2):
            await say(services, result, str(result.result_id))
        (sent,) = await over(services, result.result_id, 1)
        assert (sent.state, sent.action, len(sent.sent)) == ("confirmed", "publish", 2)
        await amend(services, result, "normal")
        await say(services, ResultAmended(**same, changed=changed, reason="assessed"), "amended-1")
        await over(services, result.result_id, 2)
        await services.database.withdraw(result.result_id, by_whom="tester", why="wrong patient")
        await say(services, ResultWithdrawn(**same, reason="wrong patient"), "withdrawn")
        rows = await over(services, result.result_id, 3)
        again = await asyncio.to_thread(
            leaving.resend, services.settings, result.result_id, destination=None, by="tester", why="test"
        )
        assert len(again) == 3
        repeated = await over(services, result.result_id, 3)
    assert [row.state for row in repeated] == ["cancelled", "cancelled", "confirmed"], "withdrawn in the meantime"
    assert [(row.action, row.state) for row in rows] == [
        ("publish", "confirmed"),
        ("amend", "confirmed"),
        ("withdraw", "confirmed"),
    ]
    assert await services.database.exports(result=old.result_id) == [], "what arrived yesterday does not leave"
    assert await services.database.exports(result=kept.result_id) == [], "its routing row names no destination"
    (study,) = pacs.tags("studies")
    assert (study["AccessionNumber"], study["StudyInstanceUID"]) == ("ACC7", "1.2.826.0.1.3680043.8.498.7.2")
    assert sorted(each["Modality"] for each in pacs.tags("series")) == ["KO", "OT", "OT", "SR", "SR"]
    held = {each["SOPInstanceUID"] for each in pacs.tags("instances")}
    assert held == {uid for row in rows for uid in row.sent}
    for file in pacs.files():
        assert claimed(file) == [route.NotClaimed("*", "the object was made by this system")]


async def test_a_study_is_one_report_that_a_late_image_replaces_and_a_refusal_is_told(
    services: Services, pacs: Pacs
) -> None:
    """CC20, CC10: two views, one report of both; then revision 2; and a study that was refused says why."""
    before = {each["SOPInstanceUID"] for each in pacs.tags("instances")}
    whole = {"StudyInstanceUID": "1.2.826.0.1.3680043.8.498.20.2", "AccessionNumber": "ACC20"}
    first, second, late = chest_result(20), chest_result(21, probability=0.6), chest_result(22, probability=0.95)
    for number, result in ((20, first), (21, second)):
        await visible(services, result, chest(number, **whole), study="stu-two")
    refused = chest_result(23)
    await stored(services, refused, chest(23))
    decided = OutcomeDecided(
        event_id=refused.answer.event_id,
        task=results_out.CHEST,
        fate="refused",
        reason="image quality: it is turned",
        code="rotated",
        object_id=refused.object_id,
    )
    await services.database.decide([decided])
    async with exporting(services):
        for result in (first, second):
            await say(services, result, str(result.result_id))
        (told,) = await over(services, second.result_id, 1)
        assert [each.export_id for each in await services.database.exports(result=first.result_id)] == [told.export_id]
        await visible(services, late, chest(22, **whole), study="stu-two")
        await say(services, late, str(late.result_id))
        (again,) = await over(services, late.result_id, 1)
        await over(services, None, 3)
    assert (told.state, again.state, len(told.sent)) == ("confirmed", "confirmed", 2)
    reports = [read for file in pacs.files() if (read := dicom_reading.open_dicom(file).dataset).Modality == "SR"]
    new = {str(read.SOPInstanceUID): read for read in reports if read.SOPInstanceUID not in before}
    revisions = [new.pop(uid) for row in (told, again) for uid in row.sent if uid in new]
    assert [views(read) for read in revisions] == [
        {first.object_id, second.object_id},
        {first.object_id, second.object_id, late.object_id},
    ]
    (replaced,) = revisions[1].PredecessorDocumentsSequence
    named = replaced.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert named == revisions[0].SOPInstanceUID
    (why,) = new.values()
    assert views(why) == {refused.object_id}
    assert "No algorithms succeeded; without findings" in str(why)
    assert "image quality: it is turned" in str(why)


def views(report: Any) -> set[str]:
    """The images that a report refers to."""
    return {
        str(item.ReferencedSOPInstanceUID)
        for series in report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }


def claimed(file: bytes) -> list[route.Claim]:
    """What becomes of an object that the PACS sends to our door."""
    opened = dicom_reading.open_dicom(file)
    meta = opened.dataset.file_meta
    data = file[file.index(b"DICM") + 4 + 12 + meta.FileMetaInformationGroupLength :]
    request = StoreRequest(
        data=data,
        transfer_syntax_uid=str(meta.TransferSyntaxUID),
        sop_class_uid=str(opened.dataset.SOPClassUID),
        sop_instance_uid=str(opened.dataset.SOPInstanceUID),
        priority=0,
        sender="ORTHANC",
        called="CLINSTREAM",
    )
    verdict = store_request.judge(request, b"key", datetime.now(UTC))
    assert verdict.answer.status == store_request.ACCEPTED
    event = envelope.read(ImageObserved, verdict.message.value)
    return route.route(CARDS, opened.header, event)


def read(file: bytes) -> pydicom.Dataset:
    """What a file says."""
    return dicom_reading.open_dicom(file).dataset


def key_object(of: pydicom.Dataset, number: int, title: Code, words: str) -> pydicom.Dataset:
    """The note of a radiologist's workstation on a report that it has."""
    return ko.KeyObjectSelectionDocument(
        evidence=[of],
        content=ko.KeyObjectSelection(title, [of], description=words),
        series_instance_uid=f"1.2.276.{number}.1",
        series_number=1,
        sop_instance_uid=f"1.2.276.{number}.2",
        instance_number=1,
        manufacturer="Workstations Inc.",
        institution_name="Hospital",
    )


async def storescu(doors: Doors, *files: Path) -> None:
    """DCMTK's sender, to the DICOM door."""
    command = [
        results_out.program("storescu"),
        "-R",
        "127.0.0.1",
        str(doors.settings.doors.dicom_port),
        *map(str, files),
    ]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr


async def taken(services: Services, doors: Doors, record: Any) -> tuple[list[Any], str]:
    """What the step makes of an object that is on the log, done; the assessments and the reason of its end."""
    event = envelope.read(ImageObserved, record.value)
    await services.store.put(event.blob.uri, (doors.store / event.blob.uri).read_bytes(), durable=False)
    around: Any = {"store": services.store, "database": services.database, "decoders": services.decoders}
    prepare = Prepare("routine", triton_models.discover(), clock=SystemClock(), key=bytes.fromhex(KEY), **around)
    (outcomes,) = await prepare([steps.delivery(event, topic=topics.OBSERVED_DICOM)])
    made = [each.event for each in outcomes if isinstance(each, Publish)]
    step = Overrides(CARDS, {}, services.database)
    assert list(await step([steps.delivery(each, topic=topics.OVERRIDES) for each in made])) == [[] for _ in made]
    ends = [each.outcome.reason for each in outcomes if isinstance(each, Decide)]
    assert len(ends) == 1, "never a dead letter"
    return made, ends[0]


async def test_a_radiologist_assesses_a_result_in_the_pacs_and_gets_the_amended_report_there(
    services: Services, pacs: Pacs, kafka_settings: Settings, tmp_path: Path
) -> None:
    """CC20: a key object selection over our report, through the real door; once, by a pseudonym, and without a loop."""
    result, image, key = chest_result(11), read(chest(11)), bytes.fromhex(KEY)
    # The patient alone would not do: the workstation leaves the issuer of the patient's number out.
    await visible(services, result, chest(11), study=ids.study_id(key, str(image.StudyInstanceUID)))
    relay = Relay(services.database, services.publisher, services.clock)
    with doors_of(kafka_settings, "door-dicom") as doors, log_of(kafka_settings, topics.OBSERVED_DICOM) as log:
        async with exporting(services):
            await say(services, result, str(result.result_id))
            (sent,) = await over(services, result.result_id, 1)
            held = {str(each.SOPInstanceUID): each for each in map(read, pacs.files())}
            report = next(held[uid] for uid in sent.sent if held[uid].Modality == "SR")
            notes = {
                "bad": key_object(report, 1, Code("113010", "DCM", "Quality Issue"), "Normal"),
                "image": key_object(image, 2, Code("113010", "DCM", "Quality Issue"), "Normal"),
            }
            report.SOPInstanceUID = ids.own_uid("sr", "nobody knows it")
            notes["lost"] = key_object(report, 3, Code("113000", "DCM", "Of Interest"), "")
            for name, note in notes.items():
                note.ContentCreatorName = "Reader^Rita"
                note.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
            await storescu(doors, *(tmp_path / f"{name}.dcm" for name in notes))
            await storescu(doors, tmp_path / "bad.dcm")
            assert "IssuerOfPatientID" not in notes["bad"]
            bad, other, lost, again = [await taken(services, doors, record) for record in log.read()]
            assert len(await services.database.unsent()) == 1, "one amendment, however often it was said"
            await relay.once()
            rows = await over(services, result.result_id, 2)
        ((said,), (repeated,)) = bad[0], again[0]
        assert (said.verdict, said.label, said.override_id) == ("rejected", "normal", repeated.override_id)
        assert said.clinician_id == ids.clinician_id(key, "Reader^Rita")
        assert (lost[0], lost[1], other[0]) == ([], assessing.UNKNOWN, [])
        assert await services.database.retrain_windows() == [(results_out.CHEST, 1, 0)], "counted once"
        assert [(row.action, row.state) for row in rows] == [("publish", "confirmed"), ("amend", "confirmed")]
        (amended,) = (each for each in map(read, pacs.files()) if each.SOPInstanceUID in rows[1].sent and
                      each.Modality == "SR")  # fmt: skip
        (predecessor,) = amended.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
        assert predecessor.ReferencedSOPInstanceUID in sent.sent
        amended.save_as(tmp_path / "back.dcm", enforce_file_format=True)
        await storescu(doors, tmp_path / "back.dcm")
        assert await taken(services, doors, log.read()[-1]) == ([], "the object was made by this system")


ROUTING = """
[[rule]]
name = "without names"
when = { modality = "DX" }
destinations = ["pacs", "research"]
deidentify = "basic"
"""


async def test_a_study_kept_without_names_comes_back_with_its_patient_and_leaves_elsewhere_without(
    services: Services, pacs: Pacs, kafka_settings: Settings, tmp_path: Path
) -> None:
    """CC15, CC20: neither store nor log nor database names the patient; the report in the PACS does, with its UIDs."""
    file = chest(
        30, PatientName="Findme^Zoe", PatientID="ZOE4711", AccessionNumber="ZOE30", PatientBirthDate="19310203"
    )
    names = (b"Findme", b"ZOE", b"19310203", b"8.498.30.")
    (tmp_path / "zoe.dcm").write_bytes(file)
    before = {each["SOPInstanceUID"] for each in pacs.tags("instances")}
    with doors_of(kafka_settings) as doors, log_of(kafka_settings, topics.OBSERVED_DICOM) as log:
        (doors.home / "routing.toml").write_text(ROUTING)
        doors.start("door-dicom")
        for _ in range(2):
            await storescu(doors, tmp_path / "zoe.dcm")
        first, repeat = log.read()
        event = envelope.read(ImageObserved, first.value)
        assert envelope.read(ImageObserved, repeat.value).event_id == event.event_id
        kept = {str(path.relative_to(doors.store)): path.read_bytes() for path in doors.store.rglob("*/*/*")}
        seen = [*kept.values(), first.value, *(value for _, value in first.headers), doors.log("door-dicom").encode()]
    assert sorted(uri.partition("/")[0] for uri in kept) == ["identities", "pixels"], "a repeat adds nothing"
    assert [name for name in names for each in seen if name in each] == []
    for uri, data in kept.items():
        await services.store.put(uri, data, durable=False)
    await prepared(services, event)
    result = chest_result(30, event_id=event.event_id, subject_id=event.subject_id, object_id=event.object_id)
    await services.database.record([result.answer])
    for number in ("ZOE4711", "ZOE30", "1.2.826.0.1.3680043.8.498.30.2"):
        assert await services.database.look_up(number, by_whom="test", purpose="test") == (set(), set())
    async with exporting(services):
        await say(services, result, str(result.result_id))
        rows = {row.destination: row for row in await over(services, result.result_id, 2)}
    assert {name: row.state for name, row in rows.items()} == {"pacs": "confirmed", "research": "confirmed"}
    new = [each for each in map(read, pacs.files()) if str(each.SOPInstanceUID) not in before]
    assert {str(each.SOPInstanceUID) for each in new} == {*rows["pacs"].sent, *rows["research"].sent}
    named, nobody = ([each for each in new if str(each.SOPInstanceUID) in rows[to].sent] for to in ("pacs", "research"))
    for each in named:
        found = (each.PatientName, each.PatientID, each.AccessionNumber, each.PatientBirthDate, each.StudyInstanceUID)
        assert found == ("Findme^Zoe", "ZOE4711", "ZOE30", "19310203", "1.2.826.0.1.3680043.8.498.30.2")
        assert "PatientIdentityRemoved" not in each
    for each in nobody:
        assert each.PatientIdentityRemoved == "YES"
        assert {e.value for e in each.iterall() if e.VR in ("DA", "DT")} <= {"", None, "19000101"}
        assert [name for name in names if name.decode() in str(each)] == []
        assert ids.study_id(bytes.fromhex(KEY), str(each.StudyInstanceUID)) == event.study_id
    (report,), (other,) = ([each for each in group if each.Modality == "SR"] for group in (named, nobody))
    assert (views(report), views(other)) == ({"1.2.826.0.1.3680043.8.498.30.1"}, {event.object_id})


async def prepared(services: Services, event: ImageObserved) -> None:
    """The steps behind the log have noted the image, and its sender is done with the study."""
    around: Any = {"store": services.store, "decoders": services.decoders}
    prepare = Prepare("routine", {}, database=services.database, clock=SystemClock(), key=bytes.fromhex(KEY), **around)
    seen = steps.delivery(event, topic=topics.OBSERVED_DICOM)
    await prepare([seen])
    await Studies(archive=services.database.archive, quiet=Quiet(0.0, 0.0), **around)([seen])
