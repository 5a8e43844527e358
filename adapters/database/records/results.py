"""Answers, what is visible of them, and how events end."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from schemas.events import Answer, Fate, ResultPublished

Key = tuple[str, str, str]
"""(object_id, content, task): what has exactly one visible result."""


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
class Told:
    """A visible result that an object which left tells; `label` is the answered one."""

    result_id: UUID
    task: str
    label: str
