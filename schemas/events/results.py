"""What is published of answers, what changes about it, and how every event ends."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from msgspec import field

from schemas.events.answers import Answer
from schemas.events.base import Base, Origin
from schemas.refusals import Code

Verdict = Literal["accepted", "rejected", "supplemented"]


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
