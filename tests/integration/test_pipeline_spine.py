"""Events in at one end of the real log and results out at the other: Kafka, Faust, Triton and PostgreSQL together."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer

from adapters import bootstrap, pixels, topics_admin
from adapters.bootstrap import Services
from adapters.settings import Settings, TritonSettings
from clinstream.benches import load
from consumers import app, pipelines
from consumers.process import ConsumerProcess
from schemas import envelope, ids, topics
from schemas.events import Base, BlobRef, ImageObserved, ResultPublished
from tests.support import real_events, served, stack, steps

SECONDS = 60
PROCESSES = ("imaging-prepare.stat", "imaging-prepare.routine", "imaging-infer.stat", "imaging-infer.routine")


@pytest.fixture(scope="module")
def empty_log() -> Iterator[Settings]:
    """Settings of a broker of this module's own: on a shared one others' images, stored elsewhere, would be read."""
    with stack.start_parts("kafka") as running:
        yield running.settings()


@pytest.fixture
async def services(
    empty_log: Settings, fresh_database: Settings, triton: TritonSettings, tmp_path: Path
) -> AsyncIterator[Services]:
    settings = served.together(empty_log, fresh_database, triton, tmp_path)
    await served.serve_models(settings)
    tasks = [card.name for card in pipelines.cards()]
    await asyncio.to_thread(topics_admin.ensure_topics, settings, tasks)
    async with bootstrap.services(settings, bootstrap.NEEDS, cards=pipelines.cards()) as found:
        yield found


@asynccontextmanager
async def running(services: Services, *names: str) -> AsyncIterator[None]:
    """The named processes' loops, in this process; what one raises comes out on leaving."""
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        for name in names:
            step = pipelines.PIPELINES[name].build(services.settings, services, name)
            loop = app.Loop(ConsumerProcess(name, 0, services.settings), step, services, {})
            task = asyncio.ensure_future(loop.run(stop))
            stack.push_async_callback(asyncio.wait_for, task, SECONDS)
        stack.callback(stop.set)
        yield


async def results(settings: Settings, topic: str, wanted: set[str]) -> dict[str, tuple[envelope.Envelope, Base]]:
    """The events of `topic` about the wanted objects, by object, once all are there."""
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=settings.kafka.bootstrap_servers, auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    found: dict[str, tuple[envelope.Envelope, Base]] = {}
    try:
        async with asyncio.timeout(SECONDS):
            while set(found) != wanted:
                message = await consumer.getone()
                opened, event = envelope.read_any(message.headers, message.value, (ResultPublished,))
                assert isinstance(event, ResultPublished)
                if event.object_id in wanted:
                    found[event.object_id] = opened, event
    finally:
        await consumer.stop()
    return found


async def test_vitals_on_the_log_become_results_for_subscribers(services: Services) -> None:
    """S2, S3, S4, S6 in one step: the contract of the results topic is held."""
    events = load.vitals(50)
    async with running(services, "signals"):
        await load.publish(services.publisher, load.messages(events, topics.OBSERVED_VITALS))
        found = await results(services.settings, "simulated.icu_mortality", {event.object_id for event in events})
    opened, event = found[events[0].object_id]
    assert isinstance(event, ResultPublished)
    assert opened.id == str(event.result_id)
    assert opened.extensions["simulated"] == "true"
    assert opened.subject == event.subject_id
    assert event.answer.observed.topic == topics.OBSERVED_VITALS
    rows = await services.database.outcomes_of([each.event_id for each in events])
    assert [row.fate for row in rows] == ["answered"] * 50


async def test_images_of_both_lanes_pass_three_hops_and_keep_their_trace(services: Services) -> None:
    """CC14: an urgent image is prepared and inferred on its own lane."""
    urgent = await load.images(services.store, served.pictures(), 2, "stat")
    routine = await load.images(services.store, served.pictures(), 6)
    images = [*urgent, *routine]
    async with running(services, *PROCESSES, "record"):
        await load.publish(services.publisher, load.messages(images, topics.OBSERVED_DICOM))
        found = await results(services.settings, "simulated.chest_xray", {image.object_id for image in images})
    lanes = {
        image.object_id: event.answer.origin.topic
        for image in images
        for _, event in [found[image.object_id]]
        if isinstance(event, ResultPublished)
    }
    assert [lanes[image.object_id] for image in urgent] == ["work.stat"] * 2
    assert [lanes[image.object_id] for image in routine] == ["work.routine"] * 6
    assert all(opened.traceparent for opened, _ in found.values())
    rows = await services.database.outcomes_of([image.event_id for image in images])
    assert [row.fate for row in rows] == ["answered"] * 8


async def test_an_ear_photograph_is_screened_and_then_diagnosed_where_the_screening_asks(services: Services) -> None:
    """OT1, OT3: uploads and endoscopic objects, one visible result a task, every event ended for both tasks."""
    uploads = [await uploaded(services, data, place) for place, data in enumerate(real_events.ear_pictures())]
    process = "imaging-follow-up"
    async with running(services, *PROCESSES, process, "record"):
        await load.publish(services.publisher, load.messages([*uploads, uploads[0]], topics.OBSERVED_OTOSCOPE))
        screened = await results(services.settings, "simulated.otoscope_screening", {up.object_id for up in uploads})
        asked = {
            thing: event
            for thing, (_, event) in screened.items()
            if isinstance(event, ResultPublished) and event.answer.label == "abnormal"
        }
        assert asked, "none of the photographs was found abnormal"
        diagnosed = await results(services.settings, "simulated.otoscope_diagnosis", set(asked))
        await ended(services, [upload.event_id for upload in uploads])
    for thing, (_, event) in diagnosed.items():
        assert isinstance(event, ResultPublished)
        assert event.answer.follows == asked[thing].result_id
        assert event.answer.priority == asked[thing].answer.priority
        assert event.answer.content == asked[thing].answer.content
    urgent = [up.object_id for up in uploads if up.priority == "stat" and up.object_id in asked]
    lanes = {thing: event.answer.origin.topic for thing, (_, event) in diagnosed.items()}  # type: ignore[attr-defined]
    assert {lanes[thing] for thing in urgent} <= {"work.stat"}
    trail = await services.database.trail(objects=[upload.object_id for upload in uploads])
    shown = [(row.result.object_id, row.result.task) for row in trail.results]
    assert len(shown) == len(set(shown)) == len(uploads) + len(asked)


async def uploaded(services: Services, data: bytes, place: int) -> ImageObserved:
    """A stored picture as an upload door announces it; every third is urgent."""
    digest = ids.sha256_hex(data)
    uri = pixels.blob_uri("pixels", digest)
    await services.store.put(uri, data, durable=False)
    kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
    return steps.ear_observed(
        data,
        ids.SIMULATED + ids.upload_object_id(f"sub-{place}", "left", digest),
        subject_id=f"sub-{place}",
        study_id=f"stu-{place}",
        blob=BlobRef(uri=uri, sha256=digest, size_bytes=len(data), media_type=kind),
        priority="routine" if place % 3 else "stat",
        simulated=True,
    )


async def ended(services: Services, events: list[UUID]) -> None:
    """Returns when each of the events has an outcome for both tasks of the chain."""
    async with asyncio.timeout(SECONDS):
        while True:
            rows = await services.database.outcomes_of(events)
            if len([row for row in rows if row.task.startswith("otoscope_")]) == 2 * len(events):
                assert {row.fate for row in rows if row.task == "otoscope_screening"} == {"answered"}
                return
            await asyncio.sleep(0.05)
