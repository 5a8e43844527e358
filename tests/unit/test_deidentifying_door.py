"""What a row that takes identities off keeps of an object at the door, and what a destination is told of it (CC15)."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from io import BytesIO
from uuid import UUID

import pytest
from pydicom import dcmread

from adapters import sealing
from adapters.database.study_reports import View
from adapters.fakes.blobs import FakeBlobs
from adapters.pixels import identity_uri
from adapters.routing_file import parsed
from adapters.settings import Destination
from consumers.told_images import ToldImages, edition
from producers import store_request
from producers.store_request import StoreRequest, Verdict, judge
from schemas import envelope, ids, topics
from schemas.errors import MissingObject, SettingsError
from schemas.events import ImageObserved
from schemas.routing import Facts, Table
from tests.support.dicom_objects import CT, EXPLICIT, data_set, encoded

KEY = b"k" * 32
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UID = "1.2.826.0.1.3680043.8.498.1"
TABLE = parsed(
    """
[[rule]]
name = "our own reading room"
when = { calling_ae = "READER" }
deidentify = "no"

[[rule]]
name = "without names"
when = { calling_ae = "CLINIC_*", institution = "St. Mary" }
tasks = "fracture"
deidentify = "characteristics"
""",
    "routing.toml",
)
NAMES = (b"Doe", b"4711", b"St. Mary", UID.encode())


def asked(sender: str = "CLINIC_1", data: bytes | None = None) -> StoreRequest:
    object = encoded(data_set(InstitutionName="St. Mary", AccessionNumber="A1", PatientAge="031Y"))
    return StoreRequest(object if data is None else data, EXPLICIT, CT, UID, 0, sender, "CLINSTREAM")


def event_of(verdict: Verdict) -> ImageObserved:
    _, event = envelope.read_any(verdict.message.headers, verdict.message.value, [ImageObserved])
    assert isinstance(event, ImageObserved)
    return event


def test_a_row_takes_the_identity_off_before_anything_is_kept() -> None:
    """Store and log have pseudonyms; the row is decided by the header as it came; the sender is told of the change."""
    verdict = judge(asked(), KEY, NOW, TABLE)
    event = event_of(verdict)
    (place, sealed), (uri, file) = verdict.blobs
    assert (verdict.answer.status, verdict.answer.event_id) == (0xB000, str(event.event_id))
    assert (event.deidentified, event.tasks, event.routed_by) == (True, ("fracture",), ("without names", "everything"))
    assert event.object_id == ids.pseudonymous_uid(KEY, UID)
    assert (event.blob.uri, event.blob.sha256, place) == (uri, ids.sha256_hex(file), identity_uri(uri))
    kept = b"".join([sealed, file, verdict.message.value, *(value for _, value in verdict.message.headers)])
    assert [name for name in NAMES if name in kept] == []
    found = dcmread(BytesIO(file))
    assert (found.SOPInstanceUID, found.file_meta.MediaStorageSOPInstanceUID) == (event.object_id,) * 2
    assert (found.PatientAge, found.InstitutionName) == ("031Y", "REMOVED")
    assert b"Doe^Jane" in sealing.unseal(KEY, place, bytes(sealed))


def test_a_repeat_and_another_sender_are_the_same_event_and_another_row_keeps_the_object_as_sent() -> None:
    """Deduplication goes on to work; what no such row routes is as it was sent."""
    one, again, other = (event_of(judge(asked(who), KEY, NOW, TABLE)) for who in ("CLINIC_1", "CLINIC_1", "CLINIC_2"))
    assert one == again
    assert (other.event_id, other.study_id, other.subject_id) == (
        one.event_id,
        one.study_id,
        one.subject_id,
    )
    for table, sender in ((TABLE, "READER"), (TABLE, "CT1"), (Table(), "CLINIC_1")):
        verdict = judge(asked(sender), KEY, NOW, table)
        event = event_of(verdict)
        assert (verdict.answer.status, event.object_id, event.deidentified) == (0x0000, UID, False)
        assert (len(verdict.blobs), b"Doe^Jane" in verdict.blobs[0][1]) == (1, True)


def test_patients_without_an_id_are_not_taken_for_one() -> None:
    """Nobody is who somebody else is because both are unknown."""
    found = set()
    for number in range(2):
        for patient in ("", None):
            uids = {"StudyInstanceUID": f"1.2.3.{number}", "PatientID": patient}
            found.add(
                event_of(judge(asked(data=encoded(data_set(InstitutionName="St. Mary", **uids))), KEY, NOW, TABLE))
            )
    assert len({event.subject_id for event in found}) == 2


def test_what_cannot_be_read_or_de_identified_is_put_aside_under_seal_where_the_row_might_have_meant_it() -> None:
    """No name reaches the quarantine either; nothing that came is gone."""
    burned = encoded(data_set(InstitutionName="St. Mary", BurnedInAnnotation="YES"))
    broken = b"\x08\x00\x18\x00UI\xff\x7fDoe^Jane"
    for data in (burned, broken):
        verdict = judge(asked(data=data), KEY, NOW, TABLE)
        ((uri, kept),) = verdict.blobs
        assert (verdict.answer.status, verdict.message.topic) == (0xC000, topics.DEAD_UNPROCESSABLE)
        assert uri.startswith("quarantine/")
        assert b"Doe" not in kept
        assert b"sealed" in verdict.message.value
        assert sealing.unseal(KEY, sealing.QUARANTINE, bytes(kept)) == data
    assert judge(asked("CT1", broken), KEY, NOW, TABLE).blobs[0][1] == broken
    assert TABLE.may_deidentify(Facts(calling_ae="clinic_9"))
    assert not TABLE.may_deidentify(Facts(calling_ae="READER"))


def test_a_simulated_or_wrapped_object_stays_one() -> None:
    """Our own marks name nobody; without them a rehearsal would become a patient."""
    mark = data_set().__class__()
    mark.ContributionDescription, mark.InstitutionName = "clinstream: simulated data, not a patient", "St. Mary"
    other = data_set().__class__()
    other.ContributionDescription = "seen by Doe"
    data = encoded(data_set(InstitutionName="St. Mary", ContributingEquipmentSequence=[mark, other]))
    verdict = judge(asked(data=data), KEY, NOW, TABLE)
    file = dcmread(BytesIO(verdict.blobs[1][1]))
    assert event_of(verdict).simulated
    assert event_of(verdict).object_id.startswith(ids.SIMULATED)
    (kept,) = file.ContributingEquipmentSequence
    assert kept.ContributionDescription == mark.ContributionDescription
    assert b"Doe" not in verdict.blobs[1][1]


def test_a_row_says_no_basic_or_characteristics() -> None:
    """Anything else is told when the door starts."""
    with pytest.raises(SettingsError, match="deidentify"):
        parsed('[[rule]]\nname = "x"\ndeidentify = "some"\n', "routing.toml")
    with pytest.raises(SettingsError, match="decides none of lane, tasks, destinations, deidentify"):
        parsed('[[rule]]\nname = "x"\n', "routing.toml")
    assert [read.decided for read in TABLE.read(Facts(calling_ae="READER"))][:2] == [("deidentify",), ()]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as found:
        yield found


async def test_a_destination_is_told_with_names_or_without_whatever_is_stored(threads: ThreadPoolExecutor) -> None:
    """Where the study came from the original patient and UIDs come back; elsewhere only pseudonyms arrive."""
    store, clinic, research = FakeBlobs(), Destination(), Destination(deidentify="basic")
    images = ToldImages(store, threads, KEY)
    for sender in ("CLINIC_1", "CT1"):
        verdict = judge(asked(sender), KEY, NOW, TABLE)
        event = event_of(verdict)
        for uri, data in verdict.blobs:
            await store.put(uri, data, durable=True)
        view = View(event.object_id, UUID(int=1), "sub", event.blob.uri, "answered", None)
        for read in (images.whole, images.beginning):
            named = dcmread(BytesIO(await read(view, clinic)))
            nobody = dcmread(BytesIO(await read(view, research)))
            assert (named.PatientName, named.AccessionNumber, named.SOPInstanceUID) == ("Doe^Jane", "A1", UID)
            assert nobody.SOPInstanceUID == ids.pseudonymous_uid(KEY, UID)
            assert nobody.PatientID.startswith("DEID-")
            assert "Doe" not in str(nobody)
            assert ("PatientAge" in named, nobody.get("PatientAge", ""), "113108" in str(nobody)) == (True, "", False)
    assert (edition(clinic), bool(edition(research))) == ("", True)


async def test_a_missing_identity_keeps_the_report_at_home(threads: ThreadPoolExecutor) -> None:
    """A report without names is no substitute for one with the patient's."""
    store = FakeBlobs()
    verdict = judge(asked(), KEY, NOW, TABLE)
    await store.put(*verdict.blobs[1], durable=True)
    view = View("1", UUID(int=1), "sub", verdict.blobs[1][0], "answered", None)
    with pytest.raises(MissingObject):
        await ToldImages(store, threads, KEY).whole(view, Destination())


def test_the_warning_of_an_object_without_study_is_the_more_important_one() -> None:
    """Both are warnings; a sender is told one."""
    data = encoded(data_set(InstitutionName="St. Mary", StudyInstanceUID=None))
    assert judge(asked(data=data), KEY, NOW, TABLE).answer.status == store_request.WARNING_DOES_NOT_MATCH


def test_damaged_objects_get_a_defined_answer() -> None:
    """The door's promise holds on this way too: no exception, which would be "try again" for ever."""
    item = data_set().__class__()
    item.PatientName = "Doe^Jane"
    whole = encoded(data_set(InstitutionName="St. Mary", ReferencedImageSequence=[item], ProcedureCodeSequence=[item]))
    found = set()
    for seed in range(400):
        dice = random.Random(seed)
        data = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        cut = bytes(data[: dice.choice((len(data), dice.randrange(len(data))))])
        found.add(judge(asked(data=cut), KEY, NOW, TABLE).answer.status)
    assert found - {0x0000, 0xB007} == {0xB000, 0xA900, 0xC000}
