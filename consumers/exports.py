"""Visible results, amendments and withdrawals become rows of the export queue; what sends them is in `deliveries`.

Only what arrived lately is filed: a log that is read again, rebuilt or inferred anew never sends an old result out.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol
from uuid import UUID

from adapters import telemetry
from adapters.clock import Clock
from adapters.database import Export, ExportState, Followable
from adapters.settings import ExportSettings
from consumers.delivery import Delivery
from consumers.outcomes import Batch, Outcome
from schemas import ids, topics
from schemas.card import ModelCard
from schemas.events import Base, ResultAmended, ResultPublished, ResultWithdrawn

log = telemetry.logger("exports")


class Queue(Protocol):
    """The part of the database that keeps what is to leave; every call raises DatabaseUnavailable."""

    async def file_exports(self, rows: Sequence[Export]) -> int:
        """Queues sendings; one that was filed before stays as it is."""
        ...

    async def followable(self, result_ids: Sequence[UUID]) -> dict[UUID, Followable]:
        """How these results stand now, each with its image, by id."""
        ...

    async def exports(
        self, *, state: ExportState | None = None, result: UUID | None = None, limit: int = 50
    ) -> list[Export]:
        """The newest sendings of a result."""
        ...


class Exports:
    """From `results.<task>` of every task that reads images to the queue; injected results are on other topics."""

    name = "exports"
    onlooker: Literal[True] = True
    # Of most of these topics it is the only reader that decodes.
    leaves_poison = False
    accepts: tuple[type[Base], ...] = (ResultPublished, ResultAmended, ResultWithdrawn)
    # A result before its withdrawal.
    order: Literal["key", "none"] = "key"
    batch = Batch(max_events=32, max_wait_s=0.05, at_once=1)
    in_flight = 64

    def __init__(self, cards: Iterable[ModelCard], settings: ExportSettings, queue: Queue, clock: Clock) -> None:
        self.topics = topics_of(cards)
        self._settings, self._queue, self._clock = settings, queue, clock
        self._within = timedelta(hours=settings.deliver_within_h)

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[list[Outcome]]:
        """Files what is to leave; nothing more is to do for an event. Raises what parks the lane."""
        published = [each.event.result_id for each in batch if isinstance(each.event, ResultPublished)]
        standing = await self._queue.followable(published) if published else {}
        for delivery in batch:
            rows = await self._rows(delivery.event, delivery, standing)
            if rows:
                await self._queue.file_exports(rows)
        return [[] for _ in batch]

    async def _rows(self, event: Base, delivery: Delivery, standing: Mapping[UUID, Followable]) -> list[Export]:
        now = self._clock.now()
        match event:
            case ResultPublished():
                return self._published(event, standing.get(event.result_id), now)
            case ResultAmended():
                return await self._later(event, "amend", delivery.envelope.id, event.changed, delivery.timestamp, now)
            case ResultWithdrawn():
                return await self._later(event, "withdraw", "", {"why": event.reason}, delivery.timestamp, now)
            case _:
                return []

    def _published(self, event: ResultPublished, standing: Followable | None, now: datetime) -> list[Export]:
        """Goes where the routing row of its image said, else to the usual destinations."""
        routed = standing.image.destinations if standing and standing.image else None
        answer = event.answer
        until = datetime.fromtimestamp(answer.hops["observed"], UTC) + self._within
        if answer.simulated or until <= now:
            return []
        return [
            Export(
                export_id=ids.export_id(event.result_id, "publish", "", destination),
                result_id=event.result_id,
                task=event.task,
                object_id=event.object_id,
                subject_id=event.subject_id,
                action="publish",
                destination=destination,
                urgent=answer.priority == "stat",
                until=until,
                filed_at=now,
            )
            for destination in (self._settings.chosen if routed is None else routed)
        ]

    async def _later(
        self,
        event: ResultAmended | ResultWithdrawn,
        action: Literal["amend", "withdraw"],
        change: str,
        changed: Mapping[str, str],
        said_at: float,
        now: datetime,
    ) -> list[Export]:
        """Goes where the result itself went, or is about to."""
        until = datetime.fromtimestamp(said_at, UTC) + self._within
        if until <= now:
            return []
        before = [row for row in await self._queue.exports(result=event.result_id) if row.action == "publish"]
        return [
            Export(
                export_id=ids.export_id(event.result_id, action, change, row.destination),
                result_id=event.result_id,
                task=event.task,
                object_id=event.object_id,
                subject_id=event.subject_id,
                action=action,
                destination=row.destination,
                urgent=row.urgent,
                until=until,
                filed_at=now,
                change=change,
                changed=dict(changed),
            )
            for row in before
        ]


def topics_of(cards: Iterable[ModelCard]) -> tuple[str, ...]:
    """Where results of images are published, without the injected ones."""
    return tuple(topics.results_topic(card.name) for card in cards if card.consumes == "image")
