"""What the database takes and gives, as plain records; no SQL and no connection."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from schemas.events import Answer, Fate, ResultPublished

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


@dataclass(frozen=True, slots=True)
class Visible:
    """The visible result of a key and the event that it answers."""

    key: Key
    event_id: UUID
    result: ResultPublished
    withdrawn_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class ImageIdentity:
    """Whose image an event carries and where it lies; the fields from `accession_number` on are personal data.

    Dates and sex are kept as the DICOM header gives them (DA and CS value representations).
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
    """How an event ended for a task, as stored; `task` is `*` where none was chosen."""

    event_id: UUID
    task: str
    fate: Fate
    reason: str
    answer_id: UUID | None
    object_id: str
    content: str
    subject_id: str


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
    """An image event as stored, without personal data."""

    event_id: UUID
    object_id: str
    subject_id: str
    study_id: str
    blob_uri: str
    modality: str
    sender: str
    observed_at: datetime | None


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
