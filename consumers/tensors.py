"""From an opened image to tensors on a work lane: pixels as each card wants them, storing, announcing; no routing.

Shared by the steps that prepare images: from the door, and as follow-ups of a result.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
import numpy.typing as npt
from msgspec import UNSET, UnsetType

from adapters import imaging, measurements, quality, telemetry
from adapters.clock import Clock
from adapters.imaging import DecodedImage, ImageHeader
from adapters.pixels import BlobStore, blob_uri
from adapters.quality import Fault
from adapters.stored_image import OpenedImage
from consumers.outcomes import DeadLetter, Publish
from schemas import ids, topics
from schemas.card import Shows
from schemas.errors import OutOfRange, RejectedInput
from schemas.events import Fate, ImagePrepared, Origin, OutcomeDecided, Priority, ResearchMeasurement, TensorRef
from schemas.refusals import Code
from triton_models.model import Model

ANY_TASK = "*"
COLOURLESS = "out of intended use: not a colour image"
Tensor = npt.NDArray[Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Source:
    """Which accepted image a tensor is made of; `observed_at` in seconds since the epoch."""

    event_id: UUID
    object_id: str
    subject_id: str
    study_id: str
    priority: Priority
    simulated: bool
    origin: Origin
    observed_at: float
    follows: UUID | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A tensor for one task, `content` being the hash of the decoded pixels, `view` the part of them that it shows."""

    task: str
    content: str
    tensor: Tensor
    caution: str = ""
    warnings: tuple[str, ...] = ()
    view: tuple[float, ...] = ()
    research: tuple[ResearchMeasurement, ...] | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Turned:
    """A task that does not take the image, with the reason for the sender."""

    task: str
    fate: Fate
    reason: str
    content: str = ""
    code: Code = ""


@dataclass(frozen=True, slots=True)
class Aside:
    """Nothing can be done with the image."""

    letter: DeadLetter


Verdict = Ready | Turned | Aside


def unprocessable(error: RejectedInput, task: str = ANY_TASK) -> Aside:
    """What becomes of an image that cannot be read."""
    return Aside(DeadLetter("unprocessable", str(error), type(error).__name__, task=task))


def judged(lane: str, judge: Callable[[], T]) -> T:
    """What `judge` says, its processor time counted; called in a decoder's thread."""
    started = time.thread_time()
    try:
        return judge()
    finally:
        telemetry.metrics().decode_cpu_seconds.labels(lane=lane).inc(time.thread_time() - started)


def decoded(
    claimed: Sequence[Model], opened: OpenedImage, task: str = ANY_TASK, *, research: bool = False
) -> list[Verdict]:
    """A verdict for each claiming model; nobody's pixels are decoded when nobody claims them.

    `task` is whose fault it is when the pixels cannot be decoded: every task's, or that of the only one that asked.
    With `research`, what a card's pictures are measured for comes along with its tensor.
    """
    if not claimed:
        return []
    try:
        image = opened.decode()
        content = imaging.pixel_hash(image)
        shown = {kind: _shown(image, kind) for kind in {model.card.pixels for model in claimed}}
        faults = _faults({model.card.intended_use.shows for model in claimed}, image, shown.get("grey"))
    except RejectedInput as error:
        return [unprocessable(error, task)]
    verdicts = [
        _refused(model, fault, content)
        if (fault := faults[model.card.intended_use.shows]) is not None
        else _tensor(model, shown[model.card.pixels], content)
        for model in claimed
    ]
    if not any(map(_is_ready, verdicts)):
        return verdicts
    if research and (greys := shown.get("grey")) is not None:
        shows = {model.card.name: model.card.intended_use.shows for model in claimed}
        verdicts = [_measured(each, shows, greys, opened.header) for each in verdicts]
    return [_none_of_its_business(each) for each in verdicts]


def _is_ready(verdict: Verdict) -> bool:
    return isinstance(verdict, Ready)


def _measured(verdict: Verdict, shows: Mapping[str, Shows], greys: Tensor, header: ImageHeader) -> Verdict:
    """A tensor with what is measured, for research, on pictures of its card's kind."""
    if not isinstance(verdict, Ready):
        return verdict
    found = measurements.measured(shows[verdict.task], greys, header)
    return replace(verdict, research=found) if found else verdict


def _none_of_its_business(verdict: Verdict) -> Verdict:
    """An image that one model takes is no refusal of another that merely looks at other parts of the body."""
    if isinstance(verdict, Turned) and verdict.code == "wrong_body_part":
        return replace(verdict, fate="not_applicable")
    return verdict


def _faults(kinds: Collection[Shows], image: DecodedImage, greys: Tensor | None) -> dict[Shows, Fault | None]:
    """What the quality gate says to the image, for each kind of picture that some card asks for."""
    if not any(kinds):
        return dict.fromkeys(kinds)
    shown = imaging.to_display(image) if greys is None else greys
    return {kind: quality.fault(image, shown, kind) for kind in kinds}


def _refused(model: Model, fault: Fault, content: str) -> Turned:
    return Turned(model.card.name, "refused", f"image quality: {fault.reason}", content, fault.code)


def _shown(image: DecodedImage, pixels: str) -> Tensor | None:
    return imaging.to_colour(image) if pixels == "colour" else imaging.to_display(image)


def _tensor(model: Model, shown: Tensor | None, content: str) -> Verdict:
    task = model.card.name
    if shown is None:
        return Turned(task, "refused", COLOURLESS, content, "not_colour")
    try:
        if model.prepare_seen is None:
            return Ready(task, content, model.prepare(shown))
        tensor, view = model.prepare_seen(shown)
        return Ready(task, content, tensor, view=view)
    except OutOfRange as error:
        return Turned(task, "refused", str(error), content)
    except RejectedInput as error:
        return unprocessable(error, task)


def decision(source: Source, turned: Turned, clock: Clock) -> OutcomeDecided:
    """The end of the image for a task that does not take it."""
    return OutcomeDecided(
        event_id=source.event_id,
        task=turned.task,
        fate=turned.fate,
        reason=turned.reason,
        object_id=source.object_id,
        content=turned.content,
        subject_id=source.subject_id,
        origin=source.origin,
        decided_at=clock.time(),
        code=turned.code,
    )


async def hand_on(source: Source, ready: Ready, model: Model, *, lane: str, store: BlobStore, clock: Clock) -> Publish:
    """Stores the tensor and announces it on the work lane of the source's priority.

    Not flushed to disk: the bytes survive a SIGKILL in the page cache, and after a power cut the tensor can be
    made again from the image, which the door did flush. One fsync an image would cost 5-10 ms.
    """
    little = ready.tensor.astype(ready.tensor.dtype.newbyteorder("<"), copy=False)
    raw = np.ascontiguousarray(little).tobytes()
    digest = ids.sha256_hex(raw)
    uri = blob_uri("tensors", digest)
    await store.put(uri, raw, durable=False)
    now = clock.time()
    telemetry.metrics().hop_seconds.labels(lane=lane, hop="prepare").observe(max(0.0, now - source.observed_at))
    prepared = ImagePrepared(
        event_id=source.event_id,
        object_id=source.object_id,
        content=ready.content,
        subject_id=source.subject_id,
        task=ready.task,
        tensor=TensorRef(uri=uri, sha256=digest, dtype=ready.tensor.dtype.name, shape=ready.tensor.shape),
        preprocessing_version=model.card.preprocessing_version,
        priority=source.priority,
        observed=source.origin,
        hops={"observed": source.observed_at, "prepared": now},
        simulated=source.simulated,
        follows=source.follows,
        caution=ready.caution,
        warnings=ready.warnings,
        view=ready.view,
        research=ready.research,
    )
    return Publish(
        topic=topics.WORK[source.priority],
        key=source.study_id.encode(),
        event=prepared,
        id=f"{source.event_id}/{ready.task}",
        subject=source.subject_id,
        extensions={
            "task": ready.task,
            "priority": source.priority,
            "objectid": source.object_id,
            **({"simulated": "true"} if source.simulated else {}),
        },
    )
