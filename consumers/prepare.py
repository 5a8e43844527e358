"""From an observed image to tensors for the tasks that claim it: read, route, decode, resize, store; no inference."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from adapters import dicom_reading, imaging, telemetry
from adapters.clock import Clock
from adapters.database import ImageIdentity
from adapters.pixels import BlobStore, blob_uri
from consumers import route
from consumers.delivery import Delivery
from consumers.identity import identity_of
from consumers.outcomes import Batch, DeadLetter, Decide, Outcome, Publish
from schemas import ids, topics
from schemas.errors import OutOfRange, RejectedInput, StepFailed
from schemas.events import Base, Fate, ImageObserved, ImagePrepared, Origin, OutcomeDecided, Priority, TensorRef
from triton_models.model import Model

# Routine images share their transactions: with batches of 8 these cost 0.5 ms of processor time an image, half with 16.
BATCHES: dict[str, Batch] = {"stat": Batch(1, 0.0), "routine": Batch(16, 0.01, at_once=3)}
# Files in memory at once: an instance may have 50 MB.
OPEN = 4
ANY_TASK = "*"
Tensor = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Ready:
    """A tensor for one task, `content` being the hash of the decoded pixels."""

    task: str
    content: str
    tensor: Tensor


@dataclass(frozen=True, slots=True)
class Turned:
    """A task that does not take the image, with the reason for the sender."""

    task: str
    fate: Fate
    reason: str
    content: str = ""


@dataclass(frozen=True, slots=True)
class Aside:
    """Nothing can be done with the image."""

    letter: DeadLetter


Verdict = Ready | Turned | Aside


class Identities(Protocol):
    """The part of the database that knows whose image it is."""

    async def note_images(self, rows: Sequence[ImageIdentity]) -> None:
        """Stores identities; what is there already stays. Raises DatabaseUnavailable."""
        ...


class Prepare:
    """One lane's step from `observed.dicom` to `work.<lane>`; the other lane's events are skipped by their header.

    Order `none`: two versions of one object may be prepared side by side, because which revision comes first is
    decided where answers are recorded. A batch shares one identity transaction and its images are decoded in threads
    (the codecs release the interpreter lock); every image gets its own verdict.
    """

    accepts: tuple[type[Base], ...] = (ImageObserved,)
    order: Literal["key", "none"] = "none"
    topics = (topics.OBSERVED_DICOM,)

    def __init__(
        self,
        lane: Priority,
        models: Mapping[str, Model],
        *,
        store: BlobStore,
        database: Identities,
        decoders: Executor,
        clock: Clock,
    ) -> None:
        self.lane = lane
        self.name = f"imaging-prepare.{lane}"
        self.batch = BATCHES[lane]
        self.in_flight = 48
        self._models = {name: model for name, model in models.items() if model.card.consumes == "image"}
        self._store, self._database = store, database
        self._decoders, self._clock = decoders, clock
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

    async def _outcomes(self, event: ImageObserved, origin: Origin, verdicts: Sequence[Verdict]) -> list[Outcome]:
        return [await self._outcome(event, origin, verdict) for verdict in verdicts]

    async def _read(self, event: ImageObserved) -> tuple[ImageIdentity | None, list[Verdict]]:
        """Whose image it is and what each task says to it; a missing or unreadable file is a verdict, not an error."""
        async with self._room:
            try:
                data = await self._store.get(event.blob.uri)
            except StepFailed as error:
                return None, [Aside(DeadLetter("failed", str(error), type(error).__name__))]
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._decoders, self._judge, event, data)

    def _judge(self, event: ImageObserved, data: bytes) -> tuple[ImageIdentity | None, list[Verdict]]:
        """Header, routing and, for what is claimed, pixels; runs in a thread and touches nothing shared."""
        started = time.thread_time()
        try:
            return self._verdicts(event, data)
        finally:
            spent = time.thread_time() - started
            telemetry.metrics().decode_cpu_seconds.labels(lane=self.name).inc(spent)

    def _verdicts(self, event: ImageObserved, data: bytes) -> tuple[ImageIdentity | None, list[Verdict]]:
        if ids.sha256_hex(data) != event.blob.sha256:
            return None, [Aside(DeadLetter("failed", "the stored object does not match its checksum", "StepFailed"))]
        try:
            opened = dicom_reading.open_dicom(data)
        except RejectedInput as error:
            return None, [Aside(_unprocessable(error))]
        identity = identity_of(event, opened.dataset)
        verdicts: list[Verdict] = []
        claimed: list[Model] = []
        for answer in route.route([model.card for model in self._models.values()], opened.header, event):
            match answer:
                case route.Claimed(task):
                    claimed.append(self._models[task])
                case route.Refused(task, reason):
                    verdicts.append(Turned(task, "refused", reason))
                case route.NotClaimed(task, reason):
                    verdicts.append(Turned(task, "not_applicable", reason))
        return identity, verdicts + _decoded(claimed, opened)

    async def _outcome(self, event: ImageObserved, origin: Origin, verdict: Verdict) -> Outcome:
        match verdict:
            case Aside(letter):
                return letter
            case Turned():
                return Decide(self._decision(event, origin, verdict))
            case Ready():
                return await self._hand_on(event, origin, verdict)

    def _decision(self, event: ImageObserved, origin: Origin, turned: Turned) -> OutcomeDecided:
        return OutcomeDecided(
            event_id=event.event_id,
            task=turned.task,
            fate=turned.fate,
            reason=turned.reason,
            object_id=event.object_id,
            content=turned.content,
            subject_id=event.subject_id,
            origin=origin,
            decided_at=self._clock.time(),
        )

    async def _hand_on(self, event: ImageObserved, origin: Origin, ready: Ready) -> Publish:
        """Stores the tensor and announces it.

        Not flushed to disk: the bytes survive a SIGKILL in the page cache, and after a power cut the tensor can be
        made again from the image, which the door did flush. One fsync an image would cost 5-10 ms.
        """
        little = ready.tensor.astype(ready.tensor.dtype.newbyteorder("<"), copy=False)
        raw = np.ascontiguousarray(little).tobytes()
        digest = ids.sha256_hex(raw)
        uri = blob_uri("tensors", digest)
        await self._store.put(uri, raw, durable=False)
        now = self._clock.time()
        observed = event.observed_at.timestamp()
        telemetry.metrics().hop_seconds.labels(lane=self.name, hop="prepare").observe(max(0.0, now - observed))
        prepared = ImagePrepared(
            event_id=event.event_id,
            object_id=event.object_id,
            content=ready.content,
            subject_id=event.subject_id,
            task=ready.task,
            tensor=TensorRef(uri=uri, sha256=digest, dtype=ready.tensor.dtype.name, shape=ready.tensor.shape),
            preprocessing_version=self._models[ready.task].card.preprocessing_version,
            priority=event.priority,
            observed=origin,
            hops={"observed": observed, "prepared": now},
            simulated=event.simulated,
        )
        return Publish(
            topic=topics.WORK[self.lane],
            key=event.study_id.encode(),
            event=prepared,
            id=f"{event.event_id}/{ready.task}",
            subject=event.subject_id,
            extensions={
                "task": ready.task,
                "priority": event.priority,
                "objectid": event.object_id,
                **({"simulated": "true"} if event.simulated else {}),
            },
        )


def _observed(event: Base) -> ImageObserved:
    assert isinstance(event, ImageObserved)  # the loop hands over only what `accepts` names
    return event


def _unprocessable(error: RejectedInput, task: str = ANY_TASK) -> DeadLetter:
    return DeadLetter("unprocessable", str(error), type(error).__name__, task=task)


def _decoded(claimed: Sequence[Model], opened: dicom_reading.DicomObject) -> list[Verdict]:
    """A verdict for each claiming task; nobody's pixels are decoded when nobody claims them."""
    if not claimed:
        return []
    try:
        image = dicom_reading.decode(opened)
        content, display = imaging.pixel_hash(image), imaging.to_display(image)
    except RejectedInput as error:
        return [Aside(_unprocessable(error))]
    return [_tensor(model, display, content) for model in claimed]


def _tensor(model: Model, display: imaging.Grey8, content: str) -> Verdict:
    task = model.card.name
    try:
        return Ready(task, content, model.prepare(display))
    except OutOfRange as error:
        return Turned(task, "refused", str(error), content)
    except RejectedInput as error:
        return Aside(_unprocessable(error, task))
