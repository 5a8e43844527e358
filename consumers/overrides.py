"""Clinicians' assessments from `overrides` into PostgreSQL; what counts as a correction is decided there."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from adapters import telemetry
from adapters.database import Assessed, Rules
from consumers import crash_points
from consumers.delivery import Delivery
from consumers.outcomes import Batch, DeadLetter, Outcome
from schemas import topics
from schemas.card import ModelCard
from schemas.events import Base, ResultAssessed


class Assessments(Protocol):
    """The part of the database that keeps assessments and counts corrections."""

    async def assess(self, events: Sequence[ResultAssessed], rules: Mapping[str, Rules]) -> list[Assessed]:
        """Takes them in one transaction; raises DatabaseUnavailable."""
        ...


class Overrides:
    """One assessment after the other of a result, each stored and counted in one transaction with what follows from it.

    An assessment that cannot be taken (no such result, no such label) is put aside as failed: a replay takes it once
    the reason is gone.
    """

    name = "overrides"
    topics = (topics.OVERRIDES,)
    accepts: tuple[type[Base], ...] = (ResultAssessed,)
    order: Literal["key", "none"] = "key"
    batch = Batch(max_events=64, max_wait_s=0.02, at_once=1)
    in_flight = 256

    def __init__(self, cards: Sequence[ModelCard], retrain_after: Mapping[str, int], database: Assessments) -> None:
        self._rules = {
            card.name: Rules(tuple(card.labels), retrain_after.get(card.name, card.retrain_after)) for card in cards
        }
        self._database = database

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[list[Outcome]]:
        """One list of outcomes a delivery: empty, or the reason why it was put aside; raises DatabaseUnavailable."""
        taken = await self._database.assess([_assessed(delivery.event) for delivery in batch], self._rules)
        await crash_points.reach("after-commit")
        for delivery, each in zip(batch, taken, strict=True):
            _count(_assessed(delivery.event), each)
        return [
            [DeadLetter("failed", each.problem, "UnknownResult", task=each.task or "*")] if each.problem else []
            for each in taken
        ]


def _count(event: ResultAssessed, taken: Assessed) -> None:
    if taken.again or taken.problem:
        return
    kind = "counted" if taken.counted else event.verdict
    telemetry.metrics().assessments.labels(task=taken.task, kind=kind).inc()
    if taken.requested is not None:
        telemetry.metrics().retrain_requests.labels(task=taken.task).inc()


def _assessed(event: Base) -> ResultAssessed:
    assert isinstance(event, ResultAssessed)  # the loop hands over only what `accepts` names
    return event
