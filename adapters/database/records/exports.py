"""Sendings of results to destinations."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

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
