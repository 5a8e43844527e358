"""Makes outcomes durable, in the one order that loses nothing; only after that may an event count as done.

Dead letters first, then the rows in the database, then what is published. Every stage may be repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from adapters import telemetry
from adapters.clock import Clock
from adapters.kafka import Message, Publisher
from consumers import dead_letters
from consumers.delivery import ATTEMPT, FIRST_SEEN, Arrival, Delivery, event_id, header, observed, origin
from consumers.outcomes import DeadLetter, Decide, Outcome, Publish
from schemas import envelope, topics
from schemas.events import OutcomeDecided


class Decisions(Protocol):
    """Where outcomes are kept; the database is one."""

    async def decide(self, outcomes: Sequence[OutcomeDecided]) -> None:
        """Writes the outcomes in one transaction; repeating it changes nothing; raises DatabaseUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Handled:
    """An arrival with what a step said about it; `delivery` is None when it could not be read."""

    arrival: Arrival
    delivery: Delivery | None
    outcomes: Sequence[Outcome]

    @property
    def failed(self) -> bool:
        """Whether the step gave up on it, which is what the brake counts."""
        return any(isinstance(each, DeadLetter) and each.kind == "failed" for each in self.outcomes)


@dataclass(slots=True)
class Settlement:
    """What has to become durable for one batch, and how far that has come (`stage`)."""

    letters: list[Message] = field(default_factory=list)
    decided: list[OutcomeDecided] = field(default_factory=list)
    published: list[Message] = field(default_factory=list)
    stage: int = 0


class Settler:
    """Knows the lane's name, which is the `source` of what it publishes; an onlooker's letters decide no outcome."""

    def __init__(
        self, lane: str, decisions: Decisions, publisher: Publisher, clock: Clock, *, onlooker: bool = False
    ) -> None:
        self._lane, self._decisions = lane, decisions
        self._publisher, self._clock = publisher, clock
        self._source = f"clinstream/{lane}"
        self._onlooker = onlooker

    def plan(self, batch: Sequence[Handled]) -> Settlement:
        """What has to be written for these events."""
        plan = Settlement()
        for each in batch:
            for outcome in each.outcomes:
                match outcome:
                    case DeadLetter():
                        self._put_aside(plan, each, outcome)
                    case Decide():
                        self._decide(plan, each, outcome.outcome)
                    case Publish():
                        plan.published.append(self._message(outcome, each.delivery))
        plan.published[:0] = [self._announce(each) for each in plan.decided]
        return plan

    async def settle(self, plan: Settlement) -> None:
        """Takes the stages that are left; raises Unavailable, and is then called again with the same plan."""
        if plan.stage == 0:
            await self._publisher.publish_many(plan.letters)
            plan.stage = 1
        if plan.stage == 1:
            if plan.decided:
                await self._decisions.decide(plan.decided)
            plan.stage = 2
        if plan.stage == 2:
            await self._publisher.publish_many(plan.published)
            plan.stage = 3

    def count(self, plan: Settlement) -> None:
        """Adds a settled batch to the metrics."""
        meters = telemetry.metrics()
        for decided in plan.decided:
            meters.outcomes.labels(task=decided.task, fate=decided.fate).inc()
            if decided.code and decided.fate == "refused":
                meters.refusals.labels(task=decided.task, code=decided.code).inc()
        for letter in plan.letters:
            kind = "failed" if letter.topic == topics.DEAD_FAILED else "unprocessable"
            meters.dead_letters.labels(lane=self._lane, kind=kind).inc()

    def _put_aside(self, plan: Settlement, each: Handled, letter: DeadLetter) -> None:
        arrival, delivery = each.arrival, each.delivery
        which = event_id(arrival, delivery)
        first_seen = header(arrival.headers, f"ce_{FIRST_SEEN}") or self._clock.now().isoformat()
        note = dead_letters.Note(
            kind=letter.kind,
            reason=letter.reason,
            error_class=letter.error_class,
            origin=origin(arrival),
            observed=observed(arrival, delivery),
            attempt=delivery.attempt if delivery else 1,
            first_seen=first_seen,
            model_version=letter.model_version,
            event_id=str(which) if which else "",
            task=letter.task,
        )
        plan.letters.append(dead_letters.write(note, arrival.key, arrival.headers, arrival.value or b""))
        if which is None:
            return  # not even a name: no door of ours sent it, the dead letter is all that can be kept
        if self._onlooker:
            return  # what becomes of the event is decided by the lane that answers for it
        event = delivery.event if delivery else None
        plan.decided.append(
            OutcomeDecided(
                event_id=which,
                task=letter.task,
                fate="dead",
                reason=f"{letter.kind}: {dead_letters.plain(letter.reason)}",
                object_id=getattr(event, "object_id", ""),
                content=getattr(event, "content", ""),
                subject_id=getattr(event, "subject_id", ""),
                origin=origin(arrival),
                decided_at=self._clock.time(),
            )
        )

    def _decide(self, plan: Settlement, each: Handled, outcome: OutcomeDecided) -> None:
        plan.decided.append(
            msgspec.structs.replace(
                outcome,
                reason=dead_letters.plain(outcome.reason),
                origin=outcome.origin or origin(each.arrival),
                decided_at=outcome.decided_at or self._clock.time(),
            )
        )

    def _announce(self, decided: OutcomeDecided) -> Message:
        name = f"{decided.event_id}/{decided.task}/{decided.fate}"
        publication = Publish(topics.OUTCOMES, str(decided.event_id).encode(), decided, name, decided.subject_id)
        return self._message(publication, None)

    def _message(self, publication: Publish, cause: Delivery | None) -> Message:
        extensions = dict(publication.extensions)
        parent = ""
        if cause is not None:
            parent = cause.envelope.traceparent
            if cause.attempt > 1:
                extensions.setdefault(ATTEMPT, str(cause.attempt))
                extensions.setdefault(FIRST_SEEN, cause.envelope.extensions.get(FIRST_SEEN, ""))
        headers, value = envelope.pack(
            publication.event,
            id=publication.id,
            source=self._source,
            subject=publication.subject,
            time=self._clock.now(),
            traceparent=telemetry.child_traceparent(parent) if cause is not None else "",
            extensions=extensions,
        )
        return Message(publication.topic, publication.key, headers, value)
