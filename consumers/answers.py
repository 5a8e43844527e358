"""How a finding becomes an answer with its lineage, and how a sighting is closed; shared by the inferring steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from msgspec import UNSET

from schemas import ids
from schemas.card import ModelCard
from schemas.events import Answer, GlucoseObserved, ImagePrepared, Origin, OutcomeDecided, Region, VitalsObserved
from schemas.findings import Finding

if TYPE_CHECKING:
    from consumers.ask import Told  # `record` needs no Triton client: 0.4 s less to start


def build(
    card: ModelCard,
    event: ImagePrepared | VitalsObserved | GlucoseObserved,
    told: Told,
    *,
    preprocessing_version: str,
    observed: Origin,
    origin: Origin,
    hops: Mapping[str, float],
    reason: str = "",
    inputs: tuple[str, ...] = (),
) -> Answer:
    """The answer of one version to one event; its id is the same at every redelivery.

    What was prepared with caution abstains for that reason, whatever the model says.
    """
    caution = getattr(event, "caution", "")
    finding = told.finding
    version = told.choice.version
    return Answer(
        answer_id=ids.answer_id(event.event_id, card.name, version, preprocessing_version),
        event_id=event.event_id,
        object_id=event.object_id,
        content=event.content,
        subject_id=event.subject_id,
        task=card.name,
        version=version,
        preprocessing_version=preprocessing_version,
        label=finding.label,
        score=finding.score,
        threshold=finding.threshold,
        probabilities=finding.probabilities,
        abstained=finding.abstained or bool(caution),
        arm=told.choice.arm,
        release_epoch=told.choice.epoch,
        batch_size=told.batch_size,
        observed=observed,
        origin=origin,
        hops={**hops, "inferred": told.inferred_at},
        notice=card.notice,
        use_status=card.use_status,
        simulated=event.simulated,
        priority=getattr(event, "priority", "routine"),
        follows=getattr(event, "follows", None),
        forecast=finding.forecast,
        reason=reason or caution or finding.reason,
        inputs=inputs,
        warnings=getattr(event, "warnings", ()),
        research=getattr(event, "research", UNSET),
        **_places(finding, getattr(event, "view", ())),
    )


def _places(finding: Finding, view: tuple[float, ...]) -> dict[str, Any]:
    """A finding's places on the image; none where it is not known which part of the image the model was given."""
    if len(view) != 6 or finding.heat is None:
        return {}
    heat = msgspec.structs.replace(finding.heat, view=tuple(round(number, 6) for number in view))
    return {"heat": heat, "regions": tuple(_moved(region, view) for region in finding.regions)}


def _moved(region: Region, view: tuple[float, ...]) -> Region:
    """A region of the model's input as one of the image; what reaches beyond the image's edges ends there."""
    a, b, c, d, e, f = view
    corners = ((a * x + b * y + c, d * x + e * y + f) for x, y in region.outline)
    kept = tuple((round(min(max(x, 0.0), 1.0), 5), round(min(max(y, 0.0), 1.0), 5)) for x, y in corners)
    return Region(score=region.score, outline=kept)


def sighting(
    event: ImagePrepared | VitalsObserved | GlucoseObserved | Answer,
    task: str,
    winner: UUID,
    *,
    origin: Origin,
    now: float,
) -> OutcomeDecided:
    """The end of an event whose content has a visible result from another event: `duplicate_of` that answer."""
    return OutcomeDecided(
        event_id=event.event_id,
        task=task,
        fate="duplicate_of",
        reason="the same content already has a visible result",
        object_id=event.object_id,
        content=event.content,
        subject_id=event.subject_id,
        answer_id=winner,
        origin=origin,
        decided_at=now,
    )
