"""From an observed image to tensors for the tasks that claim it: read, route, decode, resize, store; no inference."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Literal, Protocol

from adapters import dicom_assessment, plausibility
from adapters.clock import Clock
from adapters.database import ImageIdentity
from adapters.dicom_assessment import DOCUMENTS, Said
from adapters.pixels import BlobStore
from adapters.stored_image import OpenedImage, open_image
from consumers import route, tensors
from consumers.assessing import Assessing, Reports
from consumers.delivery import Delivery
from consumers.identity import identity_of
from consumers.outcomes import Batch, DeadLetter, Decide, Outcome
from consumers.tensors import Aside, Ready, Source, Turned, Verdict
from schemas import ids, topics
from schemas.errors import RejectedInput, StepFailed
from schemas.events import Base, ImageObserved, Origin, Priority
from triton_models.model import Model

# Routine images share their transactions: with batches of 8 these cost 0.5 ms of processor time an image, half with 16.
BATCHES: dict[str, Batch] = {"stat": Batch(1, 0.0), "routine": Batch(16, 0.01, at_once=3)}
# Files in memory at once: an instance may have 50 MB.
OPEN = 4


class Identities(Reports, Protocol):
    """The part of the database that knows whose image it is, and which results left."""

    async def note_images(self, rows: Sequence[ImageIdentity]) -> None:
        """Stores identities; what is there already stays. Raises DatabaseUnavailable."""
        ...


class Prepare:
    """One lane's step from the observed images to `work.<lane>`; the other lane's events are skipped by their header.

    Order `none`: two versions of one object may be prepared side by side, because which revision comes first is
    decided where answers are recorded. A batch shares one identity transaction and its images are decoded in threads
    (the codecs release the interpreter lock); every image gets its own verdict.
    """

    accepts: tuple[type[Base], ...] = (ImageObserved,)
    order: Literal["key", "none"] = "none"
    topics = topics.OBSERVED_IMAGES

    def __init__(
        self,
        lane: Priority,
        models: Mapping[str, Model],
        *,
        store: BlobStore,
        database: Identities,
        decoders: Executor,
        clock: Clock,
        key: bytes,
        research: bool = False,
    ) -> None:
        self.lane = lane
        self.name = f"imaging-prepare.{lane}"
        self.batch = BATCHES[lane]
        self.in_flight = 48
        self._models = {name: model for name, model in models.items() if model.card.consumes == "image"}
        self._store, self._database = store, database
        self._decoders, self._clock, self._research = decoders, clock, research
        self._assessing = Assessing([model.card for model in self._models.values()], database, key)
        self._room = asyncio.Semaphore(OPEN)

    def accepts_headers(self, headers: Iterable[tuple[str, bytes]]) -> bool:
        """Whether an event is this lane's; one without a priority is routine, so that each event has a lane."""
        priority = next((value for name, value in headers if name == "ce_priority"), b"routine")
        return (priority == b"stat") == (self.lane == "stat")

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[list[Outcome]]:
        """One list of outcomes a delivery; raises what parks the lane (store or database away)."""
        events = [_observed(delivery.event) for delivery in batch]
        read = await asyncio.gather(*(self._read(event) for event in events))
        identities = [identity for identity, _ in read if identity is not None]
        if identities:
            await self._database.note_images(identities)
        return await asyncio.gather(
            *(
                self._outcomes(event, delivery.origin, verdicts)
                for event, delivery, (_, verdicts) in zip(events, batch, read, strict=True)
            )
        )

    async def _outcomes(
        self, event: ImageObserved, origin: Origin, verdicts: Sequence[Verdict | Said]
    ) -> list[Outcome]:
        return [each for verdict in verdicts for each in await self._outcome(event, origin, verdict)]

    async def _read(self, event: ImageObserved) -> tuple[ImageIdentity | None, list[Verdict | Said]]:
        """Whose image it is and what each task says to it; a missing or unreadable file is a verdict, not an error."""
        async with self._room:
            try:
                data = await self._store.get(event.blob.uri)
            except StepFailed as error:
                return None, [Aside(DeadLetter("failed", str(error), type(error).__name__))]
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._decoders, self._judge, event, data)

    def _judge(self, event: ImageObserved, data: bytes) -> tuple[ImageIdentity | None, list[Verdict | Said]]:
        """Header, routing and, for what is claimed, pixels; runs in a thread and touches nothing shared."""
        return tensors.judged(self.name, lambda: self._verdicts(event, data))

    def _verdicts(self, event: ImageObserved, data: bytes) -> tuple[ImageIdentity | None, list[Verdict | Said]]:
        if ids.sha256_hex(data) != event.blob.sha256:
            return None, [Aside(DeadLetter("failed", "the stored object does not match its checksum", "StepFailed"))]
        try:
            opened = open_image(data, event.blob.media_type, laterality=event.laterality)
        except RejectedInput as error:
            return None, [tensors.unprocessable(error)]
        identity = identity_of(event, opened.dataset)
        if said := _said(event, opened):
            return identity, [said]
        verdicts: list[Verdict | Said] = []
        cautions: dict[str, str] = {}
        for answer in route.route([model.card for model in self._models.values()], opened.header, event):
            match answer:
                case route.Claimed(task, caution):
                    cautions[task] = caution
                case route.Refused(task, reason, code):
                    verdicts.append(Turned(task, "refused", reason, code=code))
                case route.NotClaimed(task, reason):
                    verdicts.append(Turned(task, "not_applicable", reason))
        if not cautions:
            return identity, verdicts
        warnings = plausibility.warnings(opened, self._clock.now().date())
        for verdict in tensors.decoded([self._models[task] for task in cautions], opened, research=self._research):
            if isinstance(verdict, Ready):
                verdict = replace(verdict, caution=cautions[verdict.task], warnings=warnings)
            verdicts.append(verdict)
        return identity, verdicts

    async def _outcome(self, event: ImageObserved, origin: Origin, verdict: Verdict | Said) -> list[Outcome]:
        match verdict:
            case Aside(letter):
                return [letter]
            case Said():
                return await self._assessing.outcomes(event, verdict)
            case Turned():
                return [Decide(tensors.decision(_source(event, origin), verdict, self._clock))]
            case Ready():
                model, place = self._models[verdict.task], _source(event, origin)
                return [
                    await tensors.hand_on(place, verdict, model, lane=self.name, store=self._store, clock=self._clock)
                ]


def _said(event: ImageObserved, opened: OpenedImage) -> Said | None:
    """What a document of somebody else's says of reports of ours; injected ones say nothing of a patient's results."""
    if not event.sop_class_uid.startswith(DOCUMENTS) or event.simulated or route.is_our_own(opened.header, event):
        return None
    return dicom_assessment.read(opened.dataset, event.sop_class_uid)


def _observed(event: Base) -> ImageObserved:
    assert isinstance(event, ImageObserved)  # the loop hands over only what `accepts` names
    return event


def _source(event: ImageObserved, origin: Origin) -> Source:
    return Source(
        event_id=event.event_id,
        object_id=event.object_id,
        subject_id=event.subject_id,
        study_id=event.study_id,
        priority=event.priority,
        simulated=event.simulated,
        origin=origin,
        observed_at=event.observed_at.timestamp(),
    )
