"""The events of clinstream as typed records; how they travel is in `envelope`, where they travel in `topics`.

Events carry pseudonymous ids only. Unknown fields are ignored when reading: schemas change by addition.
Times are seconds since the epoch (UTC) as floats in `hops`, and RFC 3339 strings with a zone elsewhere.
"""

from datetime import date, datetime
from typing import ClassVar, Literal
from uuid import UUID

from msgspec import Struct, field

from schemas.refusals import Code

Priority = Literal["stat", "routine"]
Laterality = Literal["", "left", "right"]
GlucoseUnit = Literal["mg/dL", "mmol/L"]
Bound = Literal["", "low", "high"]
GLUCOSE_NOTICE = "Informational only, not medical advice."
Verdict = Literal["accepted", "rejected", "supplemented"]


class Base(Struct, frozen=True, kw_only=True):
    """Common manners of all records: immutable, named fields only; `TYPE` is the CloudEvents type of an event."""

    TYPE: ClassVar[str] = ""


class BlobRef(Base, frozen=True, kw_only=True):
    """A claim check: where bytes lie in the object store and what they must hash to."""

    uri: str
    sha256: str
    size_bytes: int
    media_type: str


class TensorRef(Base, frozen=True, kw_only=True):
    """A tensor in the object store: raw C-ordered little-endian elements of `dtype`, without the batch axis."""

    uri: str
    sha256: str
    dtype: str
    shape: tuple[int, ...]


class Origin(Base, frozen=True, kw_only=True):
    """Where on the log an event was read: the lineage of what follows from it."""

    topic: str
    partition: int
    offset: int


class ImageObserved(Base, frozen=True, kw_only=True):
    """An image object arrived at a door and is stored; `blob` is the data set as sent (PS3.10 file or picture).

    `object_id` is the SOP Instance UID for DICOM, and subject, laterality and content hash for an upload without one.
    `wrapped` marks a plain picture that our own sender wrapped as DX. `laterality` is that of a paired organ where the
    door knows it. `blob.media_type` tells a DICOM file (`application/dicom`) from a picture (`image/jpeg`).
    `called` is the called AE title. `routed_by` names the rows of the routing table that chose lane, `tasks` (None:
    what the cards claim, empty: none) and `destinations` of the results (None: the usual ones). `deidentified`: the
    stored data set and all ids made of it are pseudonymous; who it is of lies sealed beside it.
    """

    TYPE: ClassVar[str] = "org.clinstream.image.observed.v1"

    event_id: UUID
    object_id: str
    subject_id: str
    study_id: str
    blob: BlobRef
    priority: Priority
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    sender: str
    observed_at: datetime
    simulated: bool = False
    wrapped: bool = False
    laterality: Laterality = ""
    device: str = ""
    called: str = ""
    tasks: tuple[str, ...] | None = None
    destinations: tuple[str, ...] | None = None
    routed_by: tuple[str, ...] = ()
    deidentified: bool = False


class VitalsObserved(Base, frozen=True, kw_only=True):
    """One set of a stay's features (62 for `icu_mortality`), by name; None or absent means not measured.

    `object_id` is subject and time, `content` the hash of the values (`ids.features_content`).
    """

    TYPE: ClassVar[str] = "org.clinstream.vitals.observed.v1"

    event_id: UUID
    object_id: str
    content: str
    subject_id: str
    features: dict[str, float | None]
    measured_at: datetime
    observed_at: datetime
    sender: str = ""
    simulated: bool = False


class GlucoseObserved(Base, frozen=True, kw_only=True):
    """One reading of a continuous glucose monitor.

    `object_id` is wearer and sensor time (`ids.reading_object_id`), `content` the hash of value and bound
    (`ids.reading_content`). `glucose_mg_dl` was converted once; `raw_value` and `raw_unit` are what the uploader sent.
    `clipped` marks a value at the sensor's limit: a bound, not a measurement. `trend` is the uploader's own direction.
    `deleted` takes back whatever was said of that sensor time before: a revision like another, with the value that it
    takes back, and `ids.deletion_content` as its content.
    """

    TYPE: ClassVar[str] = "org.clinstream.glucose.observed.v1"

    event_id: UUID
    object_id: str
    content: str
    subject_id: str
    glucose_mg_dl: float
    raw_value: float
    raw_unit: GlucoseUnit
    measured_at: datetime
    observed_at: datetime
    clipped: Bound = ""
    trend: str = ""
    device: str = ""
    sender: str = ""
    simulated: bool = False
    deleted: bool = False


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


class ImagePrepared(Base, frozen=True, kw_only=True):
    """A decoded, checked and resized image waits for one task's model on a lane.

    `content` is the hash of the decoded pixels: equal for another transfer syntax of the same image. `follows` names
    the visible result that asked for this task, where the task is a follow-up. `caution` says why the answer has to
    abstain whatever the model says (the age is not known), `warnings` what in the header is not plausible. `view` leads
    from the tensor to the image like that of `Heat`; empty where nobody asked.
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
    where on the image a finding is suspected, where the model tells and does not answer that there is none.
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


class ResultPublished(Base, frozen=True, kw_only=True):
    """The visible result for (object, content, task); `result_id` is the winning answer's id.

    `revision` counts contents of the object for this task from 1; `supersedes` names the result before, if any.
    """

    TYPE: ClassVar[str] = "org.clinstream.result.published.v1"

    result_id: UUID
    object_id: str
    subject_id: str
    task: str
    revision: int
    answer: Answer
    supersedes: UUID | None = None


class ResultAmended(Base, frozen=True, kw_only=True):
    """Something about a visible result changed that is not a new reading: a clinician's assessment, demographics.

    `changed` holds what is known now, by name (`assessment`, `label`); the answer itself stays as it was published.
    """

    TYPE: ClassVar[str] = "org.clinstream.result.amended.v1"

    result_id: UUID
    object_id: str
    subject_id: str
    task: str
    revision: int
    changed: dict[str, str]
    reason: str


class ResultWithdrawn(Base, frozen=True, kw_only=True):
    """A visible result must no longer be used. It may arrive for a result that was never published: ignore it then."""

    TYPE: ClassVar[str] = "org.clinstream.result.withdrawn.v1"

    result_id: UUID
    object_id: str
    subject_id: str
    task: str
    revision: int
    reason: str


Fate = Literal["answered", "refused", "not_applicable", "duplicate_of", "superseded", "dead"]


class OutcomeDecided(Base, frozen=True, kw_only=True):
    """How an accepted event ended for a task (`*` where no task was chosen); kept on the log for rebuilding.

    `reason` is a sentence for a person; `code` says the same to machines where a refusal has one.
    """

    TYPE: ClassVar[str] = "org.clinstream.outcome.decided.v1"

    event_id: UUID
    task: str
    fate: Fate
    reason: str
    object_id: str = ""
    content: str = ""
    subject_id: str = ""
    answer_id: UUID | None = None
    origin: Origin | None = None
    decided_at: float = field(default=0.0)
    code: Code = ""


class ResultAssessed(Base, frozen=True, kw_only=True):
    """A clinician's assessment of a visible result (IHE AI Result Assessment: accepted, rejected or supplemented).

    `override_id` is made from result, clinician, verdict, label and the client's idempotency key, so that a repeated
    request is one assessment. `label` is the clinician's own (empty for `accepted`; required for `supplemented`).
    `clinician_id` is a pseudonym. `simulated` follows the result.
    """

    TYPE: ClassVar[str] = "org.clinstream.result.assessed.v1"

    override_id: UUID
    result_id: UUID
    clinician_id: str
    verdict: Verdict
    label: str
    assessed_at: datetime
    sender: str = ""
    simulated: bool = False


class RetrainRequested(Base, frozen=True, kw_only=True):
    """Enough corrections of a task were counted, or a person asked; the run row is the truth, this the bell.

    `request_id` is made from task and window, so that one window is one run. `window` counts from 0.
    """

    TYPE: ClassVar[str] = "org.clinstream.retrain.requested.v1"

    request_id: UUID
    task: str
    window: int
    corrections: int
    reason: str
    requested_at: datetime


class ReleaseChanged(Base, frozen=True, kw_only=True):
    """Announcement to outsiders that another version serves a task; serving processes poll the database instead."""

    TYPE: ClassVar[str] = "org.clinstream.release.changed.v1"

    task: str
    version: str
    state: str
    epoch: int
    reason: str


class TimesInRanges(Base, frozen=True, kw_only=True):
    """One number for each range of glucose: below 54, 54-69, 70-180, 181-250 and above 250 mg/dL."""

    very_low: float = 0.0
    low: float = 0.0
    target: float = 0.0
    high: float = 0.0
    very_high: float = 0.0


class GlycaemicFigures(Base, frozen=True, kw_only=True):
    """Glycaemic metrics of some days of one wearer; None where nothing was measured.

    `readings` counts sensor times, `clipped` those at the sensor's limit, which count as the limit. Times are weighted
    by the minutes that each reading stands for. `sensor_active_percent` is of the whole days, `representative` that
    they are 14 or more with the sensor active for 70 % of them.
    """

    readings: int = 0
    clipped: int = 0
    days_of_wear: int = 0
    sensor_active_percent: float = 0.0
    mean_mg_dl: float | None = None
    gmi_percent: float | None = None
    cv_percent: float | None = None
    minutes: TimesInRanges = field(default_factory=TimesInRanges)
    percent: TimesInRanges = field(default_factory=TimesInRanges)
    representative: bool = False


class GlucoseMetricsRevised(Base, frozen=True, kw_only=True):
    """The glycaemic metrics of a wearer over `days` whole days (UTC) up to and with `ends_on`, computed anew.

    `revision` counts from 1 for each (wearer, days, ends_on): a late, corrected or deleted reading makes the next one,
    and the highest counts.
    """

    TYPE: ClassVar[str] = "org.clinstream.glucose.metrics-revised.v1"

    subject_id: str
    days: int
    ends_on: date
    revision: int
    figures: GlycaemicFigures
    computed_at: datetime
    notice: str = GLUCOSE_NOTICE
    simulated: bool = False


EVENTS: tuple[type[Base], ...] = (
    ImageObserved,
    VitalsObserved,
    GlucoseObserved,
    ImagePrepared,
    Answer,
    ResultPublished,
    ResultAmended,
    ResultWithdrawn,
    ResultAssessed,
    RetrainRequested,
    OutcomeDecided,
    ReleaseChanged,
    GlucoseMetricsRevised,
)
