"""The way of results out of the house on a real stack: made visible, said on the topic, and awaited at the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

from adapters.bootstrap import Services
from adapters.database import Export, ImageIdentity, Rules
from adapters.database.instances import Instance
from adapters.database.studies import Arrived
from adapters.kafka import Message
from adapters.pixels import blob_uri
from consumers import app, pipelines
from consumers.process import ConsumerProcess
from schemas import envelope, ids, topics
from schemas.events import Base, ResultAmended, ResultAssessed, ResultPublished, ResultWithdrawn
from schemas.studies import Quiet
from tests.support import results_out
from tests.support.results_out import SECONDS


@asynccontextmanager
async def exporting(services: Services) -> AsyncIterator[None]:
    """The process `exports`, in this process."""
    pipeline, stop = pipelines.PIPELINES["exports"], asyncio.Event()
    assert pipeline.beside is not None
    step = pipeline.build(services.settings, services, "exports")
    loop = app.Loop(ConsumerProcess("exports", 0, services.settings), step, services, {})
    reading = asyncio.ensure_future(loop.run(stop))
    sending = asyncio.ensure_future(pipeline.beside(services.settings, services)())
    try:
        yield
    finally:
        stop.set()
        sending.cancel()
        await asyncio.wait_for(reading, SECONDS)


async def visible(
    services: Services,
    result: ResultPublished,
    image: bytes,
    destinations: tuple[str, ...] | None = None,
    study: str = "",
) -> None:
    """The result is visible and its image is stored, in a study of its own, routed to these destinations."""
    await services.database.record([result.answer])
    await stored(services, result, image, destinations, study)


async def stored(
    services: Services,
    result: ResultPublished,
    image: bytes,
    destinations: tuple[str, ...] | None = None,
    study: str = "",
) -> None:
    """The image is stored and prepared, and its sender is done with the study."""
    uri = blob_uri("pixels", ids.sha256_hex(image))
    await services.store.put(uri, image, durable=False)
    answer = result.answer
    identity = ImageIdentity(
        event_id=answer.event_id,
        object_id=answer.object_id,
        subject_id=answer.subject_id,
        study_id=study or f"stu-{answer.object_id}",
        blob_uri=uri,
        modality="DX",
        destinations=destinations,
        observed_at=datetime.fromtimestamp(answer.hops["observed"], UTC),
    )
    await services.database.note_images([identity])
    await closed(services, identity)


async def closed(services: Services, image: ImageIdentity) -> None:
    """The ledger has the image and closes the study."""
    assert image.observed_at is not None
    header = Instance(
        event_id=image.event_id,
        study_id=image.study_id,
        subject_id=image.subject_id,
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.4",
        sop_instance_uid=image.object_id,
        sop_class_uid=results_out.DX,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="DX",
        patient_id="",
        patient_name="",
        accession_number="",
        study_date="",
        blob_uri=image.blob_uri,
        size_bytes=1,
        attributes={},
        observed_at=image.observed_at,
    )
    arrived = Arrived(image.study_id, "MODALITY", image.object_id, image.event_id, image.observed_at)
    await services.database.archive.take([header], [arrived], [], Quiet(0.0, 0.0))


async def amend(services: Services, result: ResultPublished, label: str) -> None:
    """A clinician says something else of a result."""
    said = ResultAssessed(
        override_id=uuid4(),
        result_id=result.result_id,
        clinician_id="c",
        verdict="rejected",
        label=label,
        assessed_at=datetime.now(UTC),
    )
    rules = {result.task: Rules(("normal", "pneumonia"), 500)}
    (assessed,) = await services.database.assess([said], rules)
    assert not assessed.problem


async def say(services: Services, event: Base, id: str) -> None:
    """Onto the topic that subscribers read."""
    result = event
    assert isinstance(result, ResultPublished | ResultAmended | ResultWithdrawn)
    headers, value = envelope.pack(
        event, id=id, source="test", subject=result.subject_id, time=datetime.now(UTC), extensions={}
    )
    topic = topics.results_topic(result.task)
    await services.publisher.publish_many([Message(topic, result.subject_id.encode(), headers, value)])


async def over(services: Services, result: UUID | None, rows: int) -> list[Export]:
    """The rows of a result (of all where none is named), oldest first, once there are so many and none waits."""
    async with asyncio.timeout(SECONDS):
        while True:
            found = await services.database.exports(result=result)
            if len(found) == rows and all(row.state != "waiting" for row in found):
                return found[::-1]
            await asyncio.sleep(0.1)
