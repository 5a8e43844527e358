"""Prepare, infer and record with the real model, Triton, PostgreSQL and object store, each called as the loop does."""

import io
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import pytest

from adapters import bootstrap, dicom_reading
from adapters.bootstrap import Services
from adapters.settings import Settings, TritonSettings
from clinstream.benches import load
from clinstream.sending.wrap import Wrapping, wrap
from consumers import pipelines
from consumers.outcomes import Decide, Outcome, Publish
from consumers.steps import Step
from schemas.events import Answer, Base, ImageObserved, ResultPublished
from tests.support import served, steps

LANE = ("imaging-prepare.routine", "imaging-infer.routine", "record")
TASK = "chest_xray"
LIMB = Path(__file__).parents[3] / "shared" / "data" / "fracture_fracatlas" / "normal" / "IMG0000006.jpg"


@pytest.fixture
async def services(database: Settings, triton: TritonSettings, tmp_path: Path) -> AsyncIterator[Services]:
    settings = served.together(None, database, triton, tmp_path)
    await served.serve_models(settings)
    needs = frozenset.union(*(pipelines.PIPELINES[name].needs for name in LANE)) - {"publisher"}
    async with bootstrap.services(settings, needs, cards=pipelines.cards()) as found:
        yield found


@pytest.fixture
def lane(services: Services) -> list[Step]:
    return [pipelines.PIPELINES[name].build(services.settings, services, name) for name in LANE]


async def through(step: Step, events: Sequence[Base]) -> list[Sequence[Outcome]]:
    deliveries = [steps.delivery(event, topic=step.topics[0], offset=place) for place, event in enumerate(events)]
    return list(await step(deliveries))


def events_of(outcomes: Sequence[Sequence[Outcome]]) -> list[Base]:
    return [outcome.event for each in outcomes for outcome in each if isinstance(outcome, Publish)]


async def run(lane: Sequence[Step], images: Sequence[Base]) -> list[ResultPublished]:
    events = list(images)
    for step in lane:
        events = events_of(await through(step, events))
    return [event for event in events if isinstance(event, ResultPublished)]


async def test_images_become_visible_results_with_their_whole_lineage(lane: list[Step], services: Services) -> None:
    images = await load.images(services.store, served.pictures(), 6)
    found = await run(lane, images)
    assert [result.object_id for result in found] == [image.object_id for image in images]
    answer = found[0].answer
    assert (answer.task, answer.version, answer.arm) == (TASK, "1.0.0", "serving")
    assert answer.release_epoch > 0
    assert answer.observed.topic == "observed.dicom"
    assert answer.origin.topic == "work.routine"
    moments = [answer.hops[name] for name in ("observed", "prepared", "inferred", "recorded")]
    assert moments == sorted(moments)
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-3)
    for said in (result.answer for result in found):
        assert (said.heat is not None) == (said.label == "pneumonia" or said.abstained), "ME5"
        assert all(0.0 <= share <= 1.0 for region in said.regions for corner in region.outline for share in corner)
    assert any(result.answer.regions for result in found)
    rows = await services.database.outcomes_of([image.event_id for image in images])
    assert {row.fate for row in rows} == {"answered"}
    assert len(rows) == 6


async def test_the_same_pixels_under_another_header_are_a_sighting_without_inference(
    lane: list[Step], services: Services
) -> None:
    """Rule 4: the same image from another sender, with another patient name format, is one visible result."""
    (image,) = await load.images(services.store, served.pictures(), 1)
    (first,) = await run(lane, [image])
    data = await services.store.get(image.blob.uri)
    assert b"bench" not in data
    other = await resent(services, image, data)
    prepared = events_of(await through(lane[0], [other]))
    ((decided,),) = await through(lane[1], prepared)
    assert isinstance(decided, Decide)
    assert (decided.outcome.fate, decided.outcome.answer_id) == ("duplicate_of", first.result_id)


@pytest.mark.skipif(not LIMB.is_file(), reason="the shared radiographs of limbs are not here")
async def test_a_wrist_is_read_for_fractures_and_by_nobody_else(lane: list[Step], services: Services) -> None:
    """CC1: the body part decides which model reads a radiograph; the second output does not disturb the first."""
    data = wrap(LIMB.read_bytes(), Wrapping(body_part="WRIST"))
    image = steps.image_observed(data, uid=dicom_reading.read_header(data).sop_instance_uid)
    await services.store.put(image.blob.uri, data, durable=False)
    (result,) = await run(lane, [image])
    assert result.answer.task == "fracture"
    assert sum(result.answer.probabilities.values()) == pytest.approx(1, abs=1e-3)


async def resent(services: Services, image: ImageObserved, data: bytes) -> ImageObserved:
    """The same object from a sender that writes another patient name: another data set, the same pixels."""
    import pydicom

    from adapters.pixels import blob_uri
    from schemas import ids

    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.PatientName = "DOE^JANE^^^"
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    changed = stream.getvalue()
    digest = ids.sha256_hex(changed)
    await services.store.put(blob_uri("pixels", digest), changed, durable=False)
    blob = msgspec.structs.replace(image.blob, uri=blob_uri("pixels", digest), sha256=digest, size_bytes=len(changed))
    return msgspec.structs.replace(image, blob=blob, event_id=ids.event_id(image.object_id, digest), sender="OTHER")


async def test_an_answer_of_a_newer_version_to_a_redelivered_event_leaves_the_visible_result(
    lane: list[Step], services: Services
) -> None:
    images = await load.images(services.store, served.pictures(), 1)
    prepared = events_of(await through(lane[0], images))
    (answer,) = events_of(await through(lane[1], prepared))
    assert isinstance(answer, Answer)
    newer = msgspec.structs.replace(answer, version="9.0.0", answer_id=images[0].event_id, score=0.0)
    (first,) = events_of(await through(lane[2], [answer]))
    (again,) = events_of(await through(lane[2], [newer]))
    assert again == first
    assert isinstance(first, ResultPublished)
    assert first.answer.version == "1.0.0"


async def test_what_is_visible_is_not_inferred_again(lane: list[Step], services: Services) -> None:
    images = await load.images(services.store, served.pictures(), 2)
    prepared = events_of(await through(lane[0], images))
    answers = events_of(await through(lane[1], prepared))
    await through(lane[2], answers)
    assert [list(each) for each in await through(lane[1], prepared)] == [[], []]
