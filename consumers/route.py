"""Which tasks claim an image, read from the model cards' intended use; nothing is decoded or inferred here.

Three answers: a card claims the image; it would, but the image is outside its intended use (the result is then
"refused", so that the sender learns it); or the image is none of its business.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from adapters.imaging import ImageHeader
from schemas import ids
from schemas.card import IntendedUse, ModelCard
from schemas.events import ImageObserved
from schemas.refusals import Code

# The Manufacturer (0008,0070) of what this system writes itself: a PACS may send it back to us.
OWN_EQUIPMENT = "clinstream"
# Storage classes that hold no pixels by nature: presentation states, reports, documents, raw data, waveforms, plans
# (PS3.4 B.5). Of any other class an object without pixels was cut off, and decoding it says so.
NO_PIXELS = tuple(f"1.2.840.10008.5.1.4.1.1.{part}" for part in ("11.", "88.", "104.", "66", "9.", "481.5", "481.8"))
# With the lowest and the highest age of the card.
AGE_UNKNOWN = "the patient's age is not known, and the model is meant for {:g} to {:g} years"


@dataclass(frozen=True, slots=True)
class Claimed:
    """The image goes to this task's model; with a `caution` its answer abstains for that reason."""

    task: str
    caution: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """The image is of the task's kind but outside its intended use, for `reason`."""

    task: str
    reason: str
    code: Code = ""


@dataclass(frozen=True, slots=True)
class NotClaimed:
    """The image is not of the task's kind, for `reason`."""

    task: str
    reason: str


Claim = Claimed | Refused | NotClaimed


class Stated(Protocol):
    """What the door said of the image, for a header that is silent."""

    @property
    def modality(self) -> str: ...
    @property
    def sop_class_uid(self) -> str: ...


def claims(card: ModelCard, header: ImageHeader, event: Stated, *, asked: bool = False) -> Claim:
    """What `card` says to an image of this header; `asked` when the routing table names the task.

    Modality (0008,0060), storage class, and a body part (0018,0015) that is stated and foreign decide whether the
    image is of the task's kind; frames, view (0018,5101), age and matrix decide whether it lies in the intended use.
    An absent body part or view does not refuse: routine chest images often lack them, and the pixels are looked at
    later; a card may want the part stated, though. Where the card limits the age and none is known, the image is
    claimed with a caution.
    A body part that is stated counts less than a routing table that names the task: technicians leave the last
    patient's there.
    """
    use = card.intended_use
    task = card.name
    if card.consumes != "image":
        return NotClaimed(task, "the model does not read images")
    if not header.has_pixels and event.sop_class_uid.startswith(NO_PIXELS):
        return NotClaimed(task, "the object holds no pixels")
    modality = header.modality or event.modality
    if use.modalities and modality not in use.modalities:
        return NotClaimed(task, f"no model claims modality {modality[:16] or 'unknown'}")
    sop_class = header.sop_class_uid or event.sop_class_uid
    if use.sop_classes and sop_class and sop_class not in use.sop_classes:
        return NotClaimed(task, f"no model claims storage class {sop_class[:64]} of modality {modality}")
    if not asked and use.body_part_stated and not header.body_part:
        return NotClaimed(task, "the body part is not stated")
    if not asked and use.body_parts and header.body_part and header.body_part not in use.body_parts:
        return NotClaimed(task, f"no model claims body part {header.body_part[:16]} of modality {modality}")
    violated = _violated(use, header)
    if violated is not None:
        code, words = violated
        return Refused(task, f"out of intended use: {words}", code)
    if use.age_years and header.patient_age_years is None:
        return Claimed(task, AGE_UNKNOWN.format(*use.age_years))
    return Claimed(task)


def _violated(use: IntendedUse, header: ImageHeader) -> tuple[Code, str] | None:
    """The first limit of the intended use that the header breaks, by code and in words; None when none."""
    if header.presentation_intent == "FOR PROCESSING":
        words = "raw detector data (Presentation Intent Type FOR PROCESSING), the model reads images for presentation"
        return "raw_detector_data", words
    if header.frames > 1:
        return "several_frames", f"{header.frames} frames, the model reads single images"
    if use.views and header.view_position and header.view_position not in use.views:
        return "wrong_view", f"view {header.view_position[:16]}, the model reads {', '.join(sorted(use.views))}"
    if use.age_years and header.patient_age_years is not None:
        low, high = use.age_years
        if not low <= header.patient_age_years <= high:
            # The age itself would be personal data in a reason that travels on topics.
            return "age", f"the patient's age is outside {low:g} to {high:g} years"
    if use.minimum_matrix and (header.rows < use.minimum_matrix[0] or header.columns < use.minimum_matrix[1]):
        rows, columns = use.minimum_matrix
        return "too_small", f"matrix {header.rows} x {header.columns}, the model needs at least {rows} x {columns}"
    return None


def is_our_own(header: ImageHeader, event: ImageObserved) -> bool:
    """Whether this system made the object (a result that a PACS sent back): never inferred again.

    By its UID, which a PACS keeps, and by its equipment. A picture that our sender wrapped as DX is somebody's picture
    and is not meant.
    """
    ours = OWN_EQUIPMENT in header.manufacturer.lower() and not event.wrapped
    return ids.is_own_uid(event.object_id) or ours


def first_tasks(cards: Iterable[ModelCard]) -> list[ModelCard]:
    """The cards that intended use alone may route: those that no other card names as its follow-up."""
    kept = list(cards)
    asked_later = {card.follow_up.task for card in kept if card.follow_up is not None}
    return [card for card in kept if card.name not in asked_later]


def route(cards: Iterable[ModelCard], header: ImageHeader, event: ImageObserved) -> list[Claim]:
    """The answers of all image cards, or the one that matters when nobody claims the image.

    Follow-ups are not asked: the result before them decides. The list is never empty: without a claim or refusal it
    holds one NotClaimed whose reason names what was offered.
    """
    if is_our_own(header, event):
        return [NotClaimed("*", "the object was made by this system")]
    images = {card.name: card for card in first_tasks(cards) if card.consumes == "image"}
    if event.tasks is not None:
        return _asked(images, event.tasks, header, event)
    answers = [claims(card, header, event) for card in images.values()]
    decided = [answer for answer in answers if not isinstance(answer, NotClaimed)]
    if decided:
        return list(decided)
    reasons = [answer.reason for answer in answers if isinstance(answer, NotClaimed)]
    return [NotClaimed("*", reasons[0] if reasons else "no model reads images")]


def _asked(
    images: Mapping[str, ModelCard], tasks: Sequence[str], header: ImageHeader, event: ImageObserved
) -> list[Claim]:
    """The answers of the tasks that the routing table names, those of models that are not here included."""
    if not tasks:
        return [NotClaimed("*", "the routing table names no model")]
    return [
        claims(images[task], header, event, asked=True)
        if task in images
        else Refused(task, "no model of this name takes images from the door")
        for task in tasks
    ]
