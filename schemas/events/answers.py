"""What a model is asked, and what it says."""

from typing import ClassVar, Literal
from uuid import UUID

from msgspec import UNSET, UnsetType

from schemas.events.base import Base, Origin, Priority, TensorRef


class Region(Base, frozen=True, kw_only=True):
    """A part of an image that a model holds suspicious, and how much: 0 to 1, not calibrated.

    `outline` holds the corners (x, y) in order, in shares of the image's width and height from its upper left corner.
    """

    score: float
    outline: tuple[tuple[float, float], ...]


class Heat(Base, frozen=True, kw_only=True):
    """A coarse map of what speaks for a finding, row by row: 100 for the most and 0 for the least suspicious place.

    `view` leads from the map to the image, both in shares of width and height: x' = view[0] x + view[1] y + view[2],
    y' = view[3] x + view[4] y + view[5].
    """

    rows: int
    columns: int
    percent: tuple[int, ...]
    view: tuple[float, ...]


class ReferenceRange(Base, frozen=True, kw_only=True):
    """Where a value usually lies up to `high`, for `group` and by `source`: no judgement of this value."""

    high: float
    group: str
    source: str


class ResearchMeasurement(Base, frozen=True, kw_only=True):
    """Something measured on an image that nothing validates: for research, never for a patient's record.

    Without a `value`, `reason` says why there is none. `unit` is of UCUM. `range` is given only where the age is known
    and one is established.
    """

    name: str
    value: float | None
    unit: str
    method: str
    method_version: str
    notice: str
    reason: str = ""
    range: ReferenceRange | None = None


class ImagePrepared(Base, frozen=True, kw_only=True):
    """A decoded, checked and resized image waits for one task's model on a lane.

    `content` is the hash of the decoded pixels: equal for another transfer syntax of the same image. `follows` names
    the visible result that asked for this task, where the task is a follow-up. `caution` says why the answer has to
    abstain whatever the model says (the age is not known), `warnings` what in the header is not plausible. `view` leads
    from the tensor to the image like that of `Heat`; empty where nobody asked. `research` is absent unless switched on.
    """

    TYPE: ClassVar[str] = "org.clinstream.image.prepared.v1"

    event_id: UUID
    object_id: str
    content: str
    subject_id: str
    task: str
    tensor: TensorRef
    preprocessing_version: str
    priority: Priority
    observed: Origin
    hops: dict[str, float]
    simulated: bool = False
    follows: UUID | None = None
    caution: str = ""
    warnings: tuple[str, ...] = ()
    view: tuple[float, ...] = ()
    research: tuple[ResearchMeasurement, ...] | UnsetType = UNSET


class ForecastPoint(Base, frozen=True, kw_only=True):
    """Glucose expected `horizon_minutes` after the newest reading, in mg/dL; `low` to `high` is meant to hold the
    truth in `coverage` (0..1) of cases."""

    horizon_minutes: int
    glucose_mg_dl: float
    low: float
    high: float
    coverage: float


class Answer(Base, frozen=True, kw_only=True):
    """What one version of a model said to one event; becomes visible only if it is the first for its content.

    `score` is the probability of the card's positive label, `probabilities` by label sum to 1. `arm` is `serving`,
    `canary` or `shadow`. `origin` is where the answered event was read, `observed` where it entered the log.
    `forecast` is empty unless the task forecasts; the label `stale` says that there is none because the newest
    reading is too old or too few are there yet. `reason` says in words why an answer abstains or is stale. `inputs`
    names the object ids of the first and the last reading of the window that a forecast used; all that the wearer had
    in between are in it. `follows` is the visible result that asked for a follow-up. `warnings` says what in the
    object's header is not plausible, without its values; they change nothing in the answer. `regions` and `heat` say
    where on the image a finding is suspected, where the model tells and does not answer that there is none. `research`
    is absent unless an installation switches it on: it is not validated, and no part of the answer follows from it.
    """

    TYPE: ClassVar[str] = "org.clinstream.answer.produced.v1"

    answer_id: UUID
    event_id: UUID
    object_id: str
    content: str
    subject_id: str
    task: str
    version: str
    preprocessing_version: str
    label: str
    score: float
    threshold: float
    probabilities: dict[str, float]
    abstained: bool
    arm: Literal["serving", "canary", "shadow"]
    release_epoch: int
    batch_size: int
    observed: Origin
    origin: Origin
    hops: dict[str, float]
    notice: str
    use_status: str
    simulated: bool = False
    priority: Priority = "routine"
    forecast: tuple[ForecastPoint, ...] = ()
    reason: str = ""
    inputs: tuple[str, ...] = ()
    follows: UUID | None = None
    warnings: tuple[str, ...] = ()
    regions: tuple[Region, ...] = ()
    heat: Heat | None = None
    research: tuple[ResearchMeasurement, ...] | UnsetType = UNSET
