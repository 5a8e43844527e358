"""What the database takes and gives, as plain records; no SQL and no connection."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

from schemas.events import Answer, Fate, GlucoseObserved, GlycaemicFigures, OutcomeDecided, ResultPublished

Key = tuple[str, str, str]
"""(object_id, content, task): what has exactly one visible result."""

State = Literal["TRAINED", "REGISTERED", "SHADOW", "CANARY", "PROMOTED", "REJECTED", "ROLLED_BACK", "RETIRED"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of one answer.

    `result` is the stored visible winner of the answer's key, this answer or an earlier one; None for a shadow
    answer, which has no key. `won` says that the winner answers the same event, so that it is to be published
    (again, after a redelivery) unless it is `withdrawn`; `first_time` that this call stored the answer.
    """

    answer: Answer
    won: bool
    result: ResultPublished | None
    first_time: bool
    withdrawn: bool = False


Wearer = tuple[str, bool]
"""(subject_id, simulated): whose window; injected readings have one of their own."""


@dataclass(frozen=True, slots=True)
class Own:
    """A wearer's own vector and the version of the model whose errors it was fitted to; empty where nothing was."""

    base_version: str = ""
    vector: tuple[float, ...] = ()

    def to(self, version: str) -> tuple[float, ...]:
        """The vector as a version may be given it: empty, so the model as for everybody, for any but its own."""
        return self.vector if version == self.base_version else ()


NOTHING_OWN = Own()


@dataclass(frozen=True, slots=True)
class Window:
    """A wearer's newest readings, one a sensor time, oldest first (`schemas.windows` says how many).

    `times_ms` are milliseconds since the epoch, values mg/dL in single precision, as they are stored. `own` is what was
    fitted to the wearer. `stamp` changes with every change of the readings and of what was fitted; None for a wearer
    of whom nothing is stored.
    """

    stamp: UUID | None
    times_ms: tuple[int, ...] = ()
    glucose_mg_dl: tuple[float, ...] = ()
    own: Own = NOTHING_OWN


@dataclass(frozen=True, slots=True)
class NewReading:
    """A reading to be stored as this revision of its sensor time."""

    event: GlucoseObserved
    revision: int


@dataclass(frozen=True, slots=True)
class StoredReading:
    """One stored content of a wearer's sensor time."""

    wearer: Wearer
    time_ms: int
    content: str
    revision: int


@dataclass(frozen=True, slots=True)
class Taking:
    """Everything that one micro-batch of readings changes, in one transaction.

    `stamps` are those of the windows that it was worked out from, by wearer; `stamp` is their next one. `fallen` says
    of which objects the visible results are withdrawn, and why.
    """

    stamp: UUID
    stamps: Mapping[Wearer, UUID | None]
    readings: Sequence[NewReading]
    answers: Sequence[Answer]
    decided: Sequence[OutcomeDecided]
    fallen: Mapping[str, str] = field(default_factory=dict)


class WindowsMoved(Exception):
    """The readings of these wearers are not what the windows said: nothing was written, look again."""

    def __init__(self, wearers: Iterable[Wearer]) -> None:
        super().__init__("windows changed meanwhile")
        self.wearers = frozenset(wearers)


@dataclass(frozen=True, slots=True)
class Visible:
    """The visible result of a key and the event that it answers."""

    key: Key
    event_id: UUID
    result: ResultPublished
    withdrawn_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ImageIdentity:
    """Whose image an event carries and where it lies; the fields from `study_instance_uid` on are personal data.

    Dates and sex are kept as the DICOM header gives them (DA and CS value representations). `named` is False where the
    image itself names nobody (a picture): then no study and no patient is kept, which would stand in the way of theirs.
    """

    event_id: UUID
    object_id: str
    subject_id: str
    study_id: str
    blob_uri: str
    modality: str = ""
    sender: str = ""
    simulated: bool = False
    wrapped: bool = False
    observed_at: datetime | None = None
    sop_class_uid: str = ""
    transfer_syntax_uid: str = ""
    media_type: str = "application/dicom"
    laterality: str = ""
    destinations: tuple[str, ...] | None = None
    named: bool = True
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    accession_number: str = ""
    issuer: str = ""
    patient_id: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """One row of the release log; the newest row of a (task, version) is its state. `share` is 0..1 of subjects."""

    epoch: int
    task: str
    version: str
    state: State
    share: float
    at: datetime
    by_whom: str
    why: str


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A message that was decided in a transaction and waits to be sent."""

    id: int
    topic: str
    key: bytes | None
    headers: list[tuple[str, bytes]]
    value: bytes


@dataclass(frozen=True, slots=True)
class StoredOutcome:
    """How an event ended for a task, as stored; `task` is `*` where none was chosen, `code` a refusal's own."""

    event_id: UUID
    task: str
    fate: Fate
    reason: str
    answer_id: UUID | None
    object_id: str
    content: str
    subject_id: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An outcome `refused` with when it was decided."""

    outcome: StoredOutcome
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class ResultFilter:
    """Which visible results to list, newest first; `model` is a task name, `subject` a pseudonymous subject."""

    since: datetime | None = None
    model: str | None = None
    subject: str | None = None
    limit: int = 50
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A visible result with when it was made visible and, where that happened, when and why it was withdrawn.

    `amended` holds what was said of it since (`ResultAmended.changed`), `amended_at` when the last time.
    """

    result: ResultPublished
    visible_at: datetime
    withdrawn_at: datetime | None
    withdrawn_why: str | None
    amended_at: datetime | None = None
    amended: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shown:
    """What names a visible result to subscribers."""

    result_id: UUID
    object_id: str
    subject_id: str
    task: str
    revision: int
    simulated: bool
    withdrawn_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A result that is withdrawn, and the results of its follow-ups that went with it; `again`: it was before."""

    result: Shown
    followed: list[Shown]
    again: bool


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image event as stored, without personal data; `destinations` of its results as in `ImageObserved`."""

    event_id: UUID
    object_id: str
    subject_id: str
    study_id: str
    blob_uri: str
    modality: str
    sender: str
    observed_at: datetime | None
    sop_class_uid: str = ""
    media_type: str = "application/dicom"
    laterality: str = ""
    destinations: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Followable:
    """A visible result as it stands now, with the image that it speaks of (None where no row tells)."""

    result_id: UUID
    withdrawn: bool
    superseded: bool
    image: StoredImage | None


@dataclass(frozen=True, slots=True)
class Trail:
    """Everything that the database knows of the events of one thing."""

    images: list[StoredImage] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    results: list[StoredResult] = field(default_factory=list)
    outcomes: list[StoredOutcome] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit: who did what to which subjects, and to which end."""

    id: int
    at: datetime
    by_whom: str
    purpose: str
    action: str
    details: dict[str, Any]


RunState = Literal["REQUESTED", "RUNNING", "TRAINED", "REGISTERED", "REJECTED", "FAILED"]


@dataclass(frozen=True, slots=True)
class Correction:
    """What a clinician corrected of an answer, and where on the log the answered event was observed.

    `label` is the clinician's, empty where only the answered one was rejected.
    """

    event_id: UUID
    object_id: str
    verdict: str
    label: str
    answered: str
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Run:
    """One training run as its row says; `worker` and `attempt` name who holds it."""

    request_id: UUID
    task: str
    window: int
    reason: str
    state: RunState
    stage: str
    attempt: int
    worker: str
    snapshot: str
    version: str
    figures: dict[str, Any]
    why: str
    requested_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Version:
    """A trained version: where its weights lie, and what replaces the card's operating point and abstention band.

    `operating_point` has the fields of `schemas.card.OperatingPoint`; None where the task has none.
    """

    task: str
    version: str
    request_id: UUID | None
    weights_uri: str
    weights_sha256: str
    operating_point: dict[str, Any] | None
    abstention_band: tuple[float, float]
    preprocessing_version: str
    figures: dict[str, Any]
    registry_uri: str
    registered_at: datetime
    approved_by: str = ""
    approved_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """A move of a version that somebody asked for; `event` is a column of the table of moves. `id` 0: not filed yet."""

    task: str
    version: str
    event: str
    share: float
    by_whom: str
    why: str
    id: int = 0
    done_at: datetime | None = None
    refused: str = ""


class PlainReading(NamedTuple):
    """A reading in force: sensor time in milliseconds since the epoch, mg/dL, and whether it is a sensor's bound."""

    time_ms: int
    glucose_mg_dl: float
    clipped: str = ""


class DaySums(NamedTuple):
    """Whole sums of a wearer's day: readings, milliseconds in each range, and of value and its square by weight.

    `weighted` is in ms times tenths of mg/dL, `squared` in ms times hundredths of their square.
    """

    readings: int = 0
    clipped: int = 0
    very_low: int = 0
    low: int = 0
    target: int = 0
    high: int = 0
    very_high: int = 0
    weighted: int = 0
    squared: int = 0


@dataclass(frozen=True, slots=True)
class MetricsRow:
    """Glycaemic metrics of a wearer's `days` days up to and with `ends_on`; `revision` 0 is not stored yet."""

    wearer: Wearer
    ends_on: date
    days: int
    figures: GlycaemicFigures
    revision: int = 0
    computed_at: datetime | None = None


ExportAction = Literal["publish", "amend", "withdraw"]
ExportState = Literal["waiting", "sent", "confirmed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Export:
    """One sending of a result, of an amendment or of a withdrawal to one destination.

    `change` tells one amendment of a result from another and `changed` is what it says; `until` is the last moment at
    which it may leave. `sent` holds the SOP Instance UIDs (of a FHIR server: the resources) that left.
    """

    export_id: UUID
    result_id: UUID
    task: str
    object_id: str
    subject_id: str
    action: ExportAction
    destination: str
    urgent: bool
    until: datetime
    filed_at: datetime
    change: str = ""
    changed: dict[str, str] = field(default_factory=dict)
    state: ExportState = "waiting"
    reason: str = ""
    attempts: int = 0
    refusals: int = 0
    next_at: datetime | None = None
    ended_at: datetime | None = None
    sent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """A visible result that an object which left tells; `label` is the answered one."""

    result_id: UUID
    task: str
    label: str
