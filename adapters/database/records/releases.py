"""Releases, trained versions and their training, orders and corrections."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

State = Literal["TRAINED", "REGISTERED", "SHADOW", "CANARY", "PROMOTED", "REJECTED", "ROLLED_BACK", "RETIRED"]


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
