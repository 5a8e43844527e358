"""Events put straight onto real topics, and offsets committed as a consumer would; no consumer of ours runs here."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from adapters.clock import SystemClock
from adapters.kafka import KafkaPublisher, Message, client_security
from adapters.settings import Settings
from schemas import envelope, ids, topics
from schemas.events import (
    Answer,
    BlobRef,
    GlucoseObserved,
    ImageObserved,
    ImagePrepared,
    Origin,
    OutcomeDecided,
    Priority,
    ResultPublished,
    TensorRef,
    VitalsObserved,
)
from schemas.events import Base as Event

WHEN = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)


def message(topic: str, event: Event, id: str, key: str = "key", **extensions: str) -> Message:
    """`event` as it lies on a topic."""
    subject = str(getattr(event, "subject_id", ""))
    headers, value = envelope.pack(event, id=id, source="/tests", subject=subject, time=WHEN, extensions=extensions)
    return Message(topic, key.encode(), headers, value)


def vitals(thing: str, content: str = "content", *, simulated: bool = False) -> Message:
    """An observed reading."""
    event = VitalsObserved(
        event_id=ids.event_id(thing, content),
        object_id=thing,
        content=content,
        subject_id=f"sub-{thing}",
        features={"risk": 0.5},
        measured_at=WHEN,
        observed_at=WHEN,
        simulated=simulated,
    )
    return message(topics.OBSERVED_VITALS, event, str(event.event_id), thing, priority="routine", objectid=thing)


def glucose(event: GlucoseObserved, lane: str = "live") -> Message:
    """An observed glucose reading."""
    topic = topics.OBSERVED_GLUCOSE[lane]
    return message(topic, event, str(event.event_id), event.subject_id, objectid=event.object_id)


def image(thing: str, content: str = "content", priority: Priority = "routine", **changes: Any) -> Message:
    """An observed image."""
    values: dict[str, Any] = {
        "event_id": ids.event_id(thing, content),
        "object_id": thing,
        "subject_id": f"sub-{thing}",
        "study_id": f"stu-{thing}",
        "blob": BlobRef(uri="pixels/aa/aa", sha256="aa", size_bytes=1, media_type="application/dicom"),
        "priority": priority,
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "modality": "DX",
        "sender": "TEST",
        "observed_at": WHEN,
    }
    event = ImageObserved(**{**values, **changes})
    return message(topics.OBSERVED_DICOM, event, str(event.event_id), thing, priority=priority, objectid=thing)


def prepared(thing: str, task: str, content: str = "content", priority: Priority = "routine") -> Message:
    """The work of one task that follows from `image`."""
    event = ImagePrepared(
        event_id=ids.event_id(thing, content),
        object_id=thing,
        content=content,
        subject_id=f"sub-{thing}",
        task=task,
        tensor=TensorRef(uri="tensors/aa/aa", sha256="aa", dtype="uint8", shape=(1,)),
        preprocessing_version="p1",
        priority=priority,
        observed=Origin(topic=topics.OBSERVED_DICOM, partition=0, offset=0),
        hops={"observed": WHEN.timestamp(), "prepared": WHEN.timestamp() + 1},
    )
    return message(topics.WORK[priority], event, f"{event.event_id}/{task}", thing, task=task, priority=priority)


def produced(answer: Answer) -> Message:
    """An answer on its way to be recorded."""
    return message(topics.ANSWERS, answer, str(answer.answer_id), answer.subject_id, task=answer.task)


def published(result: ResultPublished) -> Message:
    """A visible result as subscribers see it."""
    topic = topics.results_topic(result.task, simulated=result.answer.simulated)
    return message(topic, result, str(result.result_id), result.subject_id, task=result.task)


def decided(outcome: OutcomeDecided) -> Message:
    """An outcome as it is kept for rebuilding."""
    id = f"{outcome.event_id}/{outcome.task}/{outcome.fate}"
    return message(topics.OUTCOMES, outcome, id, str(outcome.event_id))


async def put(settings: Settings, messages: Iterable[Message]) -> None:
    """Publishes and waits for the broker."""
    publisher = KafkaPublisher(settings.kafka, SystemClock())
    await publisher.start()
    try:
        waiting = list(messages)
        for start in range(0, len(waiting), 2000):
            await publisher.publish_many(waiting[start : start + 2000])
    finally:
        await publisher.stop()


def commit(settings: Settings, group: str, ends: Mapping[str, int | None]) -> None:
    """Commits, for every partition of each topic, the given offset, or the partition's end for None."""
    consumer = KafkaConsumer(
        bootstrap_servers=settings.kafka.bootstrap_servers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        **client_security(settings.kafka),
    )
    try:
        for topic, offset in ends.items():
            places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
            consumer.assign(places)
            last = consumer.end_offsets(places)
            consumer.commit(
                {place: OffsetAndMetadata(last[place] if offset is None else offset, "", -1) for place in places}
            )
    finally:
        consumer.close()
