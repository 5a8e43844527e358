"""What a step may say about an event; making it durable is the business of `settle`."""

from dataclasses import dataclass, field
from typing import Literal

from schemas.events import Base, OutcomeDecided


@dataclass(frozen=True, slots=True)
class Batch:
    """How many events a step takes at once, for how many seconds the first of them waits for others, and how many
    batches run side by side."""

    max_events: int
    max_wait_s: float
    at_once: int = 4


@dataclass(frozen=True, slots=True)
class Publish:
    """An event for the next topic; the loop adds source, time and the child of the causing event's trace context."""

    topic: str
    key: bytes | None
    event: Base
    id: str
    subject: str
    extensions: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decide:
    """The event ends here for a task: `refused`, `not_applicable` or `duplicate_of`, with its reason."""

    outcome: OutcomeDecided


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """The event is put aside: it cannot be read (`unprocessable`) or the step gave up on it (`failed`).

    `reason` is for people and carries no personal data.
    """

    kind: Literal["failed", "unprocessable"]
    reason: str
    error_class: str
    task: str = "*"
    model_version: str = ""


Outcome = Publish | Decide | DeadLetter
