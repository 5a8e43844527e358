"""Prepared images of one lane before the model that serves them; what became visible already is not asked again."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from adapters import telemetry
from adapters.clock import Clock
from adapters.database import Visible
from adapters.pixels import BlobStore
from consumers import answers, crash_points
from consumers.ask import Ask, Told
from consumers.delivery import Delivery
from consumers.outcomes import Batch, DeadLetter, Decide, Outcome, Publish
from consumers.record import Ledger
from schemas import ids, topics
from schemas.errors import StepFailed
from schemas.events import Base, ImagePrepared, Origin, Priority
from triton_models.model import Model

# Rows kept in memory: one micro-batch is at most what one request to Triton may hold, several are in flight so that
# the server's dynamic batcher always finds the next one waiting.
BATCHES: dict[str, Batch] = {"stat": Batch(1, 0.0), "routine": Batch(16, 0.01, at_once=2)}
IN_FLIGHT = 48


@dataclass(frozen=True, slots=True)
class Loaded:
    """One event with its tensor."""

    place: int
    event: ImagePrepared
    tensor: npt.NDArray[Any]


class Infer:
    """One lane's step from `work.<lane>` to `answers`.

    STAT goes one by one and never waits for a neighbour; routine fills small batches.
    """

    accepts: tuple[type[Base], ...] = (ImagePrepared,)
    # Revisions are numbered where answers are recorded; two images of a study need no order here.
    order: Literal["key", "none"] = "none"

    def __init__(
        self,
        lane: Priority,
        models: Mapping[str, Model],
        *,
        store: BlobStore,
        database: Ledger,
        ask: Ask,
        clock: Clock,
    ) -> None:
        self.lane = lane
        self.name = f"imaging-infer.{lane}"
        self.topics = (topics.WORK[lane],)
        self.batch = BATCHES[lane]
        self.in_flight = IN_FLIGHT
        self._models, self._store, self._database = models, store, database
        self._ask, self._clock = ask, clock

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[list[Outcome]]:
        """One list of outcomes a delivery; raises what parks or slows the lane (Triton, database, store away)."""
        events = [_prepared(delivery.event) for delivery in batch]
        visible = await self._database.already_visible([(e.object_id, e.content, e.task) for e in events])
        outcomes: list[list[Outcome]] = [[] for _ in batch]
        waiting: list[tuple[int, ImagePrepared]] = []
        for place, event in enumerate(events):
            found = visible.get((event.object_id, event.content, event.task))
            # Put through again by a person: its result goes out once more, for whoever could not use it the first time.
            replayed = found is not None and found.event_id == event.event_id and batch[place].attempt > 1
            if found is None or replayed:
                waiting.append((place, event))
            else:
                outcomes[place] = _seen_before(event, found, batch[place].origin, self._clock.time())
        loaded: dict[str, list[Loaded]] = {}
        for result in await asyncio.gather(*(self._load(place, event) for place, event in waiting)):
            if isinstance(result, Loaded):
                loaded.setdefault(result.event.task, []).append(result)
            else:
                place, letter = result
                outcomes[place] = [letter]
        for task, rows in loaded.items():
            told = await self._ask(
                self._models[task],
                [row.event.subject_id for row in rows],
                [row.tensor for row in rows],
                priority=self.lane,
            )
            await crash_points.reach("after-triton")
            self._count(rows, told)
            for row, one in zip(rows, told, strict=True):
                outcomes[row.place] = [self._publish(row.event, one, batch[row.place].origin)]
        return outcomes

    async def _load(self, place: int, event: ImagePrepared) -> Loaded | tuple[int, DeadLetter]:
        try:
            model = self._models.get(event.task)
            if model is None:
                raise StepFailed(f"no model {event.task} is installed here")
            if event.preprocessing_version != model.card.preprocessing_version:
                raise StepFailed(
                    f"prepared for preprocessing {event.preprocessing_version}, {event.task} now expects "
                    f"{model.card.preprocessing_version}; replay prepares it again"
                )
            return Loaded(place, event, _tensor(event, await self._store.get(event.tensor.uri)))
        except StepFailed as error:
            return place, DeadLetter("failed", str(error), type(error).__name__, task=event.task)

    def _publish(self, event: ImagePrepared, told: Told, origin: Origin) -> Publish:
        answer = answers.build(
            self._models[event.task].card,
            event,
            told,
            preprocessing_version=event.preprocessing_version,
            observed=event.observed,
            origin=origin,
            hops=event.hops,
        )
        return Publish(
            topic=topics.ANSWERS,
            key=event.subject_id.encode(),
            event=answer,
            id=str(answer.answer_id),
            subject=event.subject_id,
            extensions={"task": event.task, "priority": event.priority, "objectid": event.object_id},
        )

    def _count(self, rows: Sequence[Loaded], told: Sequence[Told]) -> None:
        meter = telemetry.metrics().hop_seconds.labels(lane=self.name, hop="infer")
        for row, one in zip(rows, told, strict=True):
            meter.observe(max(0.0, one.inferred_at - row.event.hops["prepared"]))


def _prepared(event: Base) -> ImagePrepared:
    assert isinstance(event, ImagePrepared)  # the loop hands over only what `accepts` names
    return event


def _tensor(event: ImagePrepared, data: bytes) -> npt.NDArray[Any]:
    """The stored bytes as the tensor that the event promises; raises StepFailed when they are not."""
    if ids.sha256_hex(data) != event.tensor.sha256:
        raise StepFailed("the stored tensor does not match its checksum; replay prepares it again")
    return np.frombuffer(data, dtype=np.dtype(event.tensor.dtype).newbyteorder("<")).reshape(event.tensor.shape)


def _seen_before(event: ImagePrepared, visible: Visible, origin: Origin, now: float) -> list[Outcome]:
    """What is left to do for content that has its visible result.

    Answered by this very event (a redelivery): nothing. The row and the event's outcome are durable, and publishing
    is still owed only by `record`, which finishes it before acknowledging the answer that won. Answered by another
    event: this one is a sighting, `duplicate_of`.
    """
    if visible.event_id == event.event_id:
        return []
    winner = visible.result.result_id
    return [Decide(answers.sighting(event, event.task, winner, origin=origin, now=now))]
