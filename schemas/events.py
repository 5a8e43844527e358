"""The events of clinstream as typed records; how they travel is in `envelope`, where they travel in `topics`.

Events carry pseudonymous ids only. Unknown fields are ignored when reading: schemas change by addition.
Times are seconds since the epoch (UTC) as floats in `hops`, and RFC 3339 strings with a zone elsewhere.
"""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from msgspec import Struct, field

Priority = Literal["stat", "routine"]


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

    `object_id` is the SOP Instance UID for DICOM. `wrapped` marks a plain picture that our own sender wrapped as DX.
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


class ImagePrepared(Base, frozen=True, kw_only=True):
    """A decoded, checked and resized image waits for one task's model on a lane.

    `content` is the hash of the decoded pixels: equal for another transfer syntax of the same image.
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


class Answer(Base, frozen=True, kw_only=True):
    """What one version of a model said to one event; becomes visible only if it is the first for its content.

    `score` is the probability of the card's positive label, `probabilities` by label sum to 1. `arm` is `serving`,
    `canary` or `shadow`. `origin` is where the answered event was read, `observed` where it entered the log.
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
    """Something about a visible result changed that is not a new reading of the image (for example demographics)."""

    TYPE: ClassVar[str] = "org.clinstream.result.amended.v1"

    result_id: UUID
    object_id: str
    subject_id: str
    task: str
    revision: int
    changed: dict[str, str]
    reason: str


class ResultWithdrawn(Base, frozen=True, kw_only=True):
    """A visible result must no longer be used."""

    TYPE: ClassVar[str] = "org.clinstream.result.withdrawn.v1"

    result_id: UUID
    object_id: str
    subject_id: str
    task: str
    revision: int
    reason: str


Fate = Literal["answered", "refused", "not_applicable", "duplicate_of", "superseded", "dead"]


class OutcomeDecided(Base, frozen=True, kw_only=True):
    """How an accepted event ended for a task (`*` where no task was chosen); kept on the log for rebuilding."""

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


class ReleaseChanged(Base, frozen=True, kw_only=True):
    """Announcement to outsiders that another version serves a task; serving processes poll the database instead."""

    TYPE: ClassVar[str] = "org.clinstream.release.changed.v1"

    task: str
    version: str
    state: str
    epoch: int
    reason: str


EVENTS: tuple[type[Base], ...] = (
    ImageObserved,
    VitalsObserved,
    ImagePrepared,
    Answer,
    ResultPublished,
    ResultAmended,
    ResultWithdrawn,
    OutcomeDecided,
    ReleaseChanged,
)
