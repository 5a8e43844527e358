"""From an observed image to a tensor: routing, refusing, decoding and setting aside, with real DICOM bytes."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from adapters.fakes.blobs import FakeBlobs
from adapters.fakes.clock import FakeClock
from clinstream import samples
from consumers.outcomes import DeadLetter, Decide, Publish
from consumers.prepare import Prepare
from schemas import ids
from schemas.card import IntendedUse
from schemas.errors import DatabaseUnavailable, OutOfRange, StoreUnavailable
from schemas.events import ImageObserved, ImagePrepared
from tests.support import steps

DX = "1.2.840.10008.5.1.4.1.1.1.1"
ENDOSCOPIC = "1.2.840.10008.5.1.4.1.1.77.1.1"
USE = IntendedUse("chest", modalities=frozenset({"DX"}), age_years=(18, 120))


def dicom(uid: str = "1.2.3", modality: str = "DX", cut: int = 0, **elements: Any) -> bytes:
    """A 16 x 16 image of ascending greys as a PS3.10 file; `cut` bytes are missing at the end."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = DX
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = uid
    made.Modality, made.PatientName, made.PatientID = modality, "Doe^Jane", "4711"
    made.StudyInstanceUID, made.PatientAge = "1.2", "040Y"
    made.Rows = made.Columns = 16
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    made.PixelData = bytes(range(256))
    for name, value in elements.items():
        setattr(made, name, value)
    stream = io.BytesIO()
    made.save_as(stream, enforce_file_format=True)
    data = stream.getvalue()
    return data[: len(data) - cut]


class Lane:
    """A prepare step with everything around it; `observed` stores the bytes and makes the event."""

    def __init__(
        self,
        decoders: ThreadPoolExecutor,
        lane: Any = "routine",
        prepare: Any = None,
        models: Any = None,
        *,
        use: IntendedUse = USE,
        research: bool = False,
    ) -> None:
        self.ledger, self.store = steps.FakeLedger(), FakeBlobs()
        self.step = Prepare(
            lane,
            models or {"toy_image": steps.image_model(prepare, intended_use=use), "toy_risk": steps.vitals_model()},
            store=self.store,
            database=self.ledger,
            decoders=decoders,
            clock=FakeClock(steps.NOW.timestamp() + 5),
            key=steps.KEY,
            research=research,
        )

    def observed(self, data: bytes, uid: str = "1.2.3", **changes: Any) -> ImageObserved:
        event = steps.image_observed(data, uid, **changes)
        self.store.objects[event.blob.uri] = data
        return event

    def upload(self, data: bytes, **changes: Any) -> ImageObserved:
        event = steps.ear_observed(data, **changes)
        self.store.objects[event.blob.uri] = data
        return event

    async def run(self, *events: ImageObserved) -> list[list[Any]]:
        batch = [steps.delivery(event, topic="observed.dicom", offset=place) for place, event in enumerate(events)]
        return [list(outcomes) for outcomes in await self.step(batch)]


@pytest.fixture
def decoders() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


async def test_a_claimed_image_becomes_a_stored_tensor_on_its_lane(decoders: ThreadPoolExecutor) -> None:
    lane = Lane(decoders)
    event = lane.observed(dicom())
    ((publish,),) = await lane.run(event)
    assert isinstance(publish, Publish)
    prepared = publish.event
    assert isinstance(prepared, ImagePrepared)
    assert (publish.topic, publish.key) == ("work.routine", event.study_id.encode())
    assert publish.extensions == {"task": "toy_image", "priority": "routine", "objectid": "1.2.3"}
    stored = np.frombuffer(lane.store.objects[prepared.tensor.uri], dtype=prepared.tensor.dtype)
    assert stored.tolist() == [128, 0, 0, 0]
    assert prepared.tensor.sha256 == ids.sha256_hex(stored.tobytes())
    assert (prepared.observed.topic, prepared.preprocessing_version) == ("observed.dicom", "toy_image.1")
    assert prepared.hops == {"observed": steps.NOW.timestamp(), "prepared": steps.NOW.timestamp() + 5}


async def test_the_content_is_that_of_the_pixels_and_not_of_the_header(decoders: ThreadPoolExecutor) -> None:
    lane = Lane(decoders)
    one, other = lane.observed(dicom()), lane.observed(dicom(PatientName="DOE^JANE^^^"))
    (first,), (second,) = await lane.run(one, other)
    assert one.event_id != other.event_id
    assert first.event.content == second.event.content


async def test_an_uploaded_picture_is_prepared_in_colour_for_the_first_task_only(decoders: ThreadPoolExecutor) -> None:
    """OT1, OT3."""
    lane = Lane(decoders, models=steps.chained_models())
    event = lane.upload(steps.ear_picture(red=200))
    ((publish,),) = await lane.run(event)
    assert (publish.event.task, publish.event.follows) == ("toy_screening", None)
    assert lane.store.objects[publish.event.tensor.uri][0] == 200
    noted = lane.ledger.images[event.event_id]
    assert (noted.media_type, noted.laterality, noted.named) == ("image/png", "left", False)


async def test_an_endoscopic_object_of_an_ear_is_prepared_like_an_upload(decoders: ThreadPoolExecutor) -> None:
    """OT1: the same picture by the DICOM door."""
    lane = Lane(decoders, models=steps.chained_models())
    red = bytes([200, 1, 2]) * 256
    data = dicom(modality="ES", SOPClassUID=ENDOSCOPIC, SamplesPerPixel=3, PhotometricInterpretation="RGB",
                 PlanarConfiguration=0, PixelData=red, BodyPartExamined="EAR")  # fmt: skip
    ((publish,),) = await lane.run(lane.observed(data, modality="ES", sop_class_uid=ENDOSCOPIC))
    assert publish.event.task == "toy_screening"
    assert lane.store.objects[publish.event.tensor.uri][0] == 200


async def test_a_grey_image_is_outside_the_intended_use_of_a_model_of_colours(decoders: ThreadPoolExecutor) -> None:
    """OT5."""
    lane = Lane(decoders, models=steps.chained_models())
    data = dicom(modality="ES", SOPClassUID=ENDOSCOPIC)
    ((decide,),) = await lane.run(lane.observed(data, modality="ES", sop_class_uid=ENDOSCOPIC))
    assert (decide.outcome.task, decide.outcome.fate) == ("toy_screening", "refused")
    assert decide.outcome.reason == "out of intended use: not a colour image"


async def test_a_picture_that_is_cut_off_goes_aside_and_its_neighbour_goes_on(decoders: ThreadPoolExecutor) -> None:
    """S2."""
    lane = Lane(decoders, models=steps.chained_models())
    whole = steps.ear_picture()
    (letter,), (publish,) = await lane.run(lane.upload(whole[:-30], uid="cut"), lane.upload(whole))
    assert isinstance(letter, DeadLetter)
    assert (letter.kind, letter.reason.startswith("the picture is damaged")) == ("unprocessable", True)
    assert isinstance(publish, Publish)


async def test_identity_goes_to_the_database_and_never_into_the_event(decoders: ThreadPoolExecutor) -> None:
    lane = Lane(decoders)
    event = lane.observed(dicom(AccessionNumber="A1", IssuerOfPatientID="HOSPITAL"))
    ((publish,),) = await lane.run(event)
    noted = lane.ledger.images[event.event_id]
    assert (noted.patient_name, noted.patient_id, noted.issuer, noted.accession_number) == (
        "Doe^Jane",
        "4711",
        "HOSPITAL",
        "A1",
    )
    assert "Doe" not in repr(publish)
    assert "4711" not in repr(publish)


async def test_a_name_that_no_database_can_store_does_not_stop_the_image(decoders: ThreadPoolExecutor) -> None:
    lane = Lane(decoders)
    event = lane.observed(dicom(AccessionNumber="A\0B"))
    ((publish,),) = await lane.run(event)
    assert isinstance(publish, Publish)
    assert "\0" not in lane.ledger.images[event.event_id].accession_number


async def test_an_ultrasound_is_not_applicable_and_its_pixels_are_not_decoded(decoders: ThreadPoolExecutor) -> None:
    lane = Lane(decoders)
    ((decide,),) = await lane.run(lane.observed(dicom(modality="US", cut=100), modality="US"))
    assert isinstance(decide, Decide)
    assert (decide.outcome.task, decide.outcome.fate) == ("*", "not_applicable")
    assert decide.outcome.reason == "no model claims modality US"


async def test_an_image_outside_the_intended_use_is_refused(decoders: ThreadPoolExecutor) -> None:
    lane = Lane(decoders)
    ((decide,),) = await lane.run(lane.observed(dicom(PatientAge="007Y")))
    assert (decide.outcome.task, decide.outcome.fate) == ("toy_image", "refused")
    assert decide.outcome.reason.startswith("out of intended use")


async def test_a_picture_that_is_not_what_the_card_shows_is_refused_with_a_code(decoders: ThreadPoolExecutor) -> None:
    """CC10: by its pixels, whatever its header says; its neighbour for a model that asks for nothing goes on."""
    plain = steps.image_model(intended_use=USE)
    chest = replace(plain, card=replace(plain.card, name="toy_chest", intended_use=replace(USE, shows="chest")))
    models = {"toy_chest": chest, "toy_image": plain}
    lane = Lane(decoders, models=models)
    refused, publish = sorted(
        (await lane.run(lane.observed(dicom(PixelData=bytes(256)))))[0], key=lambda one: isinstance(one, Publish)
    )
    outcome = refused.outcome
    assert (outcome.task, outcome.fate, outcome.code) == ("toy_chest", "refused", "blank")
    assert outcome.reason.startswith("image quality: ")
    assert outcome.content == publish.event.content


async def test_a_chest_that_no_header_names_is_none_of_the_business_of_a_model_of_limbs(
    decoders: ThreadPoolExecutor,
) -> None:
    """CC10: the model of chests answers; were there none, the image would be refused."""
    plain = steps.image_model(intended_use=USE)
    chest, limb = (
        replace(plain, card=replace(plain.card, name=f"toy_{shows}", intended_use=replace(USE, shows=shows)))
        for shows in ("chest", "limb")
    )
    greys = np.asarray(Image.open(next(samples.IMAGES.glob("chest-09*.jpeg"))).convert("L"))
    data = dicom(Rows=greys.shape[0], Columns=greys.shape[1], PixelData=greys.tobytes())
    both = Lane(decoders, models={"toy_chest": chest, "toy_limb": limb})
    publish, decide = sorted((await both.run(both.observed(data)))[0], key=lambda one: isinstance(one, Decide))
    assert publish.event.task == "toy_chest"
    assert (decide.outcome.task, decide.outcome.fate) == ("toy_limb", "not_applicable")
    alone = Lane(decoders, models={"toy_limb": limb})
    ((decide,),) = await alone.run(alone.observed(data))
    assert (decide.outcome.fate, decide.outcome.code) == ("refused", "wrong_body_part")


async def test_an_unknown_age_and_an_impossible_header_travel_with_the_tensor(decoders: ThreadPoolExecutor) -> None:
    """CC11, CC26: the image is not lost, and the answer says why it abstains."""
    lane = Lane(decoders)
    ((publish,),) = await lane.run(lane.observed(dicom(PatientAge="", StudyDate="18990101")))
    assert publish.event.caution.startswith("the patient's age is not known")
    assert publish.event.warnings == ("the study date (0008,0020) is before 1980",)


async def test_what_the_model_cannot_accept_is_refused_with_its_reason(decoders: ThreadPoolExecutor) -> None:
    def prepare(_image: Any) -> Any:
        raise OutOfRange("the image is empty: all pixels are equal")

    lane = Lane(decoders, prepare=prepare)
    ((decide,),) = await lane.run(lane.observed(dicom()))
    assert (decide.outcome.fate, decide.outcome.reason) == ("refused", "the image is empty: all pixels are equal")
    assert decide.outcome.content


@pytest.mark.parametrize("data", [dicom(cut=100), b"<html>not an image</html>", b"", dicom()[:200]])
async def test_what_cannot_be_read_goes_aside_and_its_neighbours_go_on(
    decoders: ThreadPoolExecutor, data: bytes
) -> None:
    """S2: a bad event goes aside with its reason, never blocking its neighbours."""
    lane = Lane(decoders)
    (before,), (letter,), (after,) = await lane.run(
        lane.observed(dicom("1.1"), "1.1"), lane.observed(data, "1.2"), lane.observed(dicom("1.3"), "1.3")
    )
    assert isinstance(before, Publish)
    assert isinstance(after, Publish)
    assert isinstance(letter, DeadLetter)
    assert letter.kind == "unprocessable"
    assert len(letter.reason) > 10


async def test_an_image_that_the_store_lost_or_damaged_fails(decoders: ThreadPoolExecutor) -> None:
    lane = Lane(decoders)
    missing, damaged = lane.observed(dicom("1.1"), "1.1"), lane.observed(dicom("1.2"), "1.2")
    del lane.store.objects[missing.blob.uri]
    lane.store.objects[damaged.blob.uri] = dicom("1.3")
    (first,), (second,) = await lane.run(missing, damaged)
    assert (first.kind, first.error_class) == ("failed", "MissingObject")
    assert (second.kind, second.reason) == ("failed", "the stored object does not match its checksum")


@pytest.mark.parametrize(("away", "error"), [("store", StoreUnavailable), ("ledger", DatabaseUnavailable)])
async def test_an_outage_is_raised_and_is_no_images_fault(
    decoders: ThreadPoolExecutor, away: str, error: type[Exception]
) -> None:
    lane = Lane(decoders)
    event = lane.observed(dicom())
    getattr(lane, away).down = True
    with pytest.raises(error):
        await lane.run(event)


@pytest.mark.parametrize(("lane", "priority", "mine"), [("stat", b"stat", True), ("stat", b"routine", False),
    ("routine", b"routine", True), ("routine", b"stat", False)])  # fmt: skip
def test_a_lane_takes_its_own_priority_only(
    decoders: ThreadPoolExecutor, lane: str, priority: bytes, mine: bool
) -> None:
    assert Lane(decoders, lane).step.accepts_headers([("ce_priority", priority)]) is mine


def test_an_event_without_a_priority_is_routine(decoders: ThreadPoolExecutor) -> None:
    assert Lane(decoders, "routine").step.accepts_headers([])
    assert not Lane(decoders, "stat").step.accepts_headers([])
