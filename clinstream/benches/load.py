"""Work for the measurements: distinct made-up vitals and images on the log, all marked as simulated."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from uuid import uuid4

import numpy as np

from adapters.kafka import Message, Publisher
from schemas import envelope, ids, topics
from schemas.events import ImageObserved, Priority, VitalsObserved
from triton_models.icu_mortality.preprocess import RANGES

SOURCE = "/clinstream/bench"
MISSING = 0.24  # the share of features that the real stays lack
CHUNK = 500


def vitals(count: int, seed: int = 0) -> list[VitalsObserved]:
    """`count` plausible sets of features, each of a stay of its own that no other run shares."""
    random = np.random.default_rng(seed)
    run = uuid4().hex
    low = np.array([bounds.low for bounds in RANGES.values()])
    high = np.array([bounds.high for bounds in RANGES.values()])
    flags = np.array([bounds.flag for bounds in RANGES.values()])
    values = low + random.random((count, len(RANGES))) * (high - low)
    values = np.where(flags, np.rint(values), values.round(2))
    missing = random.random(values.shape) < MISSING
    now = datetime.now(UTC)
    return [
        _observed(f"{run}-{row}", dict(zip(RANGES, values[row].tolist(), strict=True)), missing[row].tolist(), now)
        for row in range(count)
    ]


def _observed(stay: str, values: dict[str, float], missing: Sequence[bool], now: datetime) -> VitalsObserved:
    features: dict[str, float | None] = {
        name: None if absent else value for (name, value), absent in zip(values.items(), missing, strict=True)
    }
    subject = ids.subject_id(b"bench", "bench", stay)
    thing, content = ids.SIMULATED + ids.reading_object_id(subject, now), ids.features_content(features)
    return VitalsObserved(
        event_id=ids.event_id(thing, content),
        object_id=thing,
        content=content,
        subject_id=subject,
        features=features,
        measured_at=now,
        observed_at=now,
        sender="bench",
        simulated=True,
    )


def message(event: VitalsObserved | ImageObserved, topic: str, priority: Priority = "routine") -> Message:
    """`event` as a door would publish it."""
    image = isinstance(event, ImageObserved)
    headers, value = envelope.pack(
        event,
        id=str(event.event_id),
        source=SOURCE,
        subject=event.subject_id,
        time=event.observed_at,
        extensions={"simulated": "true", "objectid": event.object_id, **({"priority": priority} if image else {})},
    )
    key = event.study_id if isinstance(event, ImageObserved) else event.subject_id
    return Message(topic, key.encode(), headers, value)


async def publish(publisher: Publisher, messages: Sequence[Message]) -> None:
    """Puts all messages onto the log, acknowledged."""
    for chunk in _chunks(messages):
        await publisher.publish_many(chunk)


def _chunks(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    for start in range(0, len(messages), CHUNK):
        yield messages[start : start + CHUNK]


OBSERVED_VITALS = topics.OBSERVED_VITALS
