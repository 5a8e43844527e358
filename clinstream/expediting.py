"""A study that waits is put before the others: its images once more onto the log, as urgent; nothing is taken back.

The first event of each image stays where it waits. It is the same event, so when its turn comes it finds its result
and changes nothing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec

from adapters.clock import SystemClock
from adapters.database import Database
from adapters.kafka import KafkaPublisher, Message
from adapters.settings import Settings, pseudonym_key
from clinstream.reconciliation import log
from clinstream.whereabouts.identify import identify
from schemas import envelope, ids, topics
from schemas.errors import RejectedInput
from schemas.events import ImageObserved

SOURCE = "clinstream/expedite"


@dataclass(frozen=True, slots=True)
class Expedited:
    """Images of the study by what was found: put before the others, urgent already, or at their end."""

    expedited: int
    urgent: int
    ended: int


def expedite(settings: Settings, word: str, issuer: str, *, by_whom: str) -> Expedited:
    """`word` is a Study Instance UID, an accession number, a SOP Instance UID, a pseudonym or an event id.

    An accession number is known once an image of the study was prepared; a Study Instance UID at once. Raises
    BrokerUnavailable and DatabaseUnavailable.
    """
    return asyncio.run(_expedite(settings, word, issuer, by_whom))


async def _expedite(settings: Settings, word: str, issuer: str, by_whom: str) -> Expedited:
    key, clock = pseudonym_key(settings), SystemClock()
    database = Database.open(settings, clock)
    try:
        meant = await identify(database, key, word, issuer, by_whom=by_whom)
        pseudonym = ids.pseudonymous_uid(key, word)  # of a de-identified object or study
        studies = {ids.study_id(key, word), ids.study_id(key, pseudonym), word}
        studies |= {image.study_id for image in meant.trail.images}
        objects = {name for each in (word, pseudonym) for name in (each, ids.SIMULATED + each)}
        found = _waiting(settings, studies, meant.events, objects)
        ended = {each.event_id for each in await database.outcomes_of(list(found))}
    finally:
        await database.close()
    routine = [each for event, each in found.items() if event not in ended and each[1].priority == "routine"]
    publisher = KafkaPublisher(settings.kafka, clock)
    await publisher.start()
    try:
        await publisher.publish_many([_urgent(*each) for each in routine])
    finally:
        await publisher.stop()
    return Expedited(len(routine), len(found) - len(ended) - len(routine), len(ended))


def _waiting(
    settings: Settings, studies: set[str], events: frozenset[str], objects: set[str]
) -> dict[UUID, tuple[envelope.Envelope, ImageObserved]]:
    """The latest event of each image meant; one that was expedited before counts as urgent."""
    found: dict[UUID, tuple[envelope.Envelope, ImageObserved]] = {}
    for record in log.read(settings.kafka, [topics.OBSERVED_DICOM]):
        try:
            head, event = envelope.read_any(record.headers.items(), record.value, [ImageObserved])
        except RejectedInput:
            continue  # in the dead letters
        if not isinstance(event, ImageObserved):
            continue
        if event.study_id in studies or str(event.event_id) in events or event.object_id in objects:
            before = found.get(event.event_id)
            if before is None or before[1].priority == "routine":
                found[event.event_id] = head, event
    return found


def _urgent(head: envelope.Envelope, event: ImageObserved) -> Message:
    urgent = msgspec.structs.replace(event, priority="stat", routed_by=(*event.routed_by, "expedited"))
    headers, value = envelope.pack(
        urgent,
        id=str(event.event_id),
        source=SOURCE,
        subject=event.subject_id,
        time=event.observed_at,
        traceparent=head.traceparent,
        extensions={**head.extensions, "priority": "stat"},
    )
    return Message(topics.OBSERVED_DICOM, event.study_id.encode(), headers, value)


def told(found: Expedited) -> Sequence[str]:
    """In words."""
    if not found.expedited + found.urgent + found.ended:
        return ["The log holds no image of that; a Study Instance UID is known at once, an accession number later."]
    lines = [f"{found.expedited} images are put before the others."]
    if found.urgent:
        lines.append(f"{found.urgent} were urgent already.")
    if found.ended:
        lines.append(f"{found.ended} have their outcome.")
    return lines
