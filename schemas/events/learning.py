"""Requests for training, and which version serves."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from schemas.events.base import Base


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
