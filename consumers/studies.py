"""Behind the acknowledgement: stored objects noted for searches, in the ledger of studies, and as rejections.

Nothing waits for this step: doors have answered and inference goes its own way.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Literal, Protocol

from adapters.database.instances import Instance
from adapters.database.rejections import Rejection
from adapters.database.studies import Arrived
from adapters.dicom_header import Indexed, index
from adapters.dicom_rejection import KEY_OBJECT_SELECTION, rejection
from adapters.pixels import BlobStore
from consumers.delivery import Delivery
from consumers.outcomes import Batch, Outcome
from schemas import ids, topics
from schemas.errors import RejectedInput, StepFailed
from schemas.events import Base, ImageObserved
from schemas.studies import Quiet

START_BYTES = 65_536
"""Most headers end within these; of the few that do not, the whole file is read."""

NOTHING = Indexed({}, {})


class Archive(Protocol):
    """The part of the database that remembers what is stored."""

    async def take(
        self, rows: Sequence[Instance], arrived: Sequence[Arrived], rejected: Sequence[Rejection], quiet: Quiet
    ) -> None:
        """Notes all of it in one transaction; what is there already stays. Raises DatabaseUnavailable."""
        ...


class Studies:
    """Order `none`: rows of one object may be written in any order, the newest observation counts when it is read.

    Large batches that may wait: it works for people who search, not for a bedside, and costs one transaction a batch.
    """

    accepts: tuple[type[Base], ...] = (ImageObserved,)
    order: Literal["key", "none"] = "none"
    name = "studies"
    topics = (topics.OBSERVED_DICOM,)
    onlooker: Literal[True] = True
    leaves_poison = True

    def __init__(
        self, *, store: BlobStore, archive: Archive, decoders: Executor, quiet: Quiet, key: bytes = b""
    ) -> None:
        self.batch = Batch(64, 0.25)
        self.in_flight = 256
        self._store, self._archive, self._decoders, self._quiet = store, archive, decoders, quiet
        self._key = key

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[Sequence[Outcome]]:
        """No outcomes: what becomes of an object is decided by its own way. Raises what parks the lane."""
        await self.note([delivery.event for delivery in batch if isinstance(delivery.event, ImageObserved)])
        return [()] * len(batch)

    async def note(self, events: Sequence[ImageObserved]) -> None:
        """Notes these objects; a repeat changes nothing. Raises what parks the lane."""
        # Injected objects are no patient's: nobody finds them among a hospital's studies.
        real = [event for event in events if not event.simulated]
        headers = [await self._header(event) for event in real]
        rows = [_instance(event, found) for event, found in zip(real, headers, strict=True)]
        arrived = [_arrived(event, found) for event, found in zip(real, headers, strict=True)]
        notes = [event for event in real if event.sop_class_uid == KEY_OBJECT_SELECTION]
        rejected = [rejection for event in notes for rejection in await self._rejections(event)]
        await self._archive.take(rows, arrived, rejected, self._quiet)

    async def _rejections(self, event: ImageObserved) -> list[Rejection]:
        try:
            note = rejection(await self._store.get(event.blob.uri))
        except (RejectedInput, StepFailed):
            return []
        if note is None:
            return []
        meant = [(uid, event.subject_id) for uid in note.objects]
        if self._key and not event.deidentified and note.patient_id:
            # A PACS knows the original of an object that another row had de-identified.
            patient = ids.pseudonymous_patient(self._key, note.issuer, note.patient_id)
            subject = ids.subject_id(self._key, "", patient)
            meant += [(ids.pseudonymous_uid(self._key, uid), subject) for uid in note.objects]
        place = (event.sender, note.why, event.observed_at)
        return [Rejection(uid, event.event_id, subject, *place) for uid, subject in dict.fromkeys(meant)]

    async def _header(self, event: ImageObserved) -> Indexed:
        """What the file says of itself; nothing where it cannot be read, which its own way will say with a reason."""
        loop = asyncio.get_running_loop()
        try:
            start = await self._store.start(event.blob.uri, START_BYTES)
            whole = event.blob.size_bytes <= START_BYTES
            found = await loop.run_in_executor(self._decoders, lambda: index(start, whole=whole))
            if found is None:
                data = await self._store.get(event.blob.uri)
                found = await loop.run_in_executor(self._decoders, lambda: index(data, whole=True))
            return found or NOTHING
        except (RejectedInput, StepFailed):
            return NOTHING


def _instance(event: ImageObserved, found: Indexed) -> Instance:
    texts = found.texts
    return Instance(
        event_id=event.event_id,
        study_id=event.study_id,
        subject_id=event.subject_id,
        study_instance_uid=texts.get("StudyInstanceUID", ""),
        series_instance_uid=texts.get("SeriesInstanceUID", ""),
        sop_instance_uid=event.object_id,
        sop_class_uid=event.sop_class_uid,
        transfer_syntax_uid=event.transfer_syntax_uid,
        modality=event.modality,
        patient_id=texts.get("PatientID", ""),
        patient_name=texts.get("PatientName", ""),
        accession_number=texts.get("AccessionNumber", ""),
        study_date=texts.get("StudyDate", ""),
        blob_uri=event.blob.uri,
        size_bytes=event.blob.size_bytes,
        attributes=found.attributes,
        observed_at=event.observed_at,
    )


def _arrived(event: ImageObserved, found: Indexed) -> Arrived:
    related = found.texts.get("NumberOfStudyRelatedInstances", "")
    return Arrived(
        study_id=event.study_id,
        sender=event.sender,
        object_id=event.object_id,
        event_id=event.event_id,
        observed_at=event.observed_at,
        related=int(related) if related.isdecimal() and len(related) < 7 else None,
    )
