"""The last hop: answers become durable, one of them visible, and the visible one goes to subscribers.

What is visible is decided in one transaction by the database; nothing here compares answers.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, Protocol

import msgspec

from adapters import telemetry
from adapters.clock import Clock
from adapters.database import Key, Recorded, Visible
from consumers import answers, crash_points
from consumers.delivery import Delivery
from consumers.outcomes import Batch, Decide, Outcome, Publish
from schemas import topics
from schemas.events import Answer, Base, ResultPublished


class Ledger(Protocol):
    """The part of the database that decides what is visible; both raise DatabaseUnavailable."""

    async def record(self, answers: Sequence[Answer]) -> list[Recorded]:
        """Stores answers and decides what is visible, in one transaction; one `Recorded` an answer, in order."""
        ...

    async def already_visible(self, keys: Sequence[Key]) -> dict[Key, Visible]:
        """The visible results of those keys that have one."""
        ...


def publish_result(result: ResultPublished) -> Publish:
    """The stored visible result on its way to subscribers; the id is the answer's, so that they can dedupe."""
    answer = result.answer
    return Publish(
        topic=topics.results_topic(result.task, simulated=answer.simulated),
        key=result.subject_id.encode(),
        event=result,
        id=str(result.result_id),
        subject=result.subject_id,
        extensions={
            "task": result.task,
            "objectid": result.object_id,
            **({"simulated": "true"} if answer.simulated else {}),
        },
    )


def outcomes_of(recorded: Recorded, now: float) -> list[Outcome]:
    """What is left to do for a recorded answer: publish the stored winner if it answers this very event.

    Also after a crash between commit and publish with a promotion in between: the event then comes again with another
    version's answer, which loses, but its winner was never published. Where another event won, this one is a sighting;
    the transaction has noted that already, and the decision goes on the log for rebuilding. A shadow answer has no
    result and leaves nothing to do; what was withdrawn since must not appear after its withdrawal.
    """
    if recorded.result is None or (recorded.won and recorded.withdrawn):
        return []
    if recorded.won:
        return [publish_result(recorded.result)]
    answer, winner = recorded.answer, recorded.result.result_id
    return [Decide(answers.sighting(answer, answer.task, winner, origin=answer.observed, now=now))]


def count(recorded: Iterable[Recorded], lane: str) -> None:
    """Counts results that were recorded for the first time and their hops; sightings are counted where decided."""
    meters = telemetry.metrics()
    tally: dict[tuple[str, str], int] = {}
    total = meters.hop_seconds.labels(lane=lane, hop="total")
    last = meters.hop_seconds.labels(lane=lane, hop="record")
    for each in recorded:
        answer = each.answer
        if each.first_time and each.won:
            kind = (answer.task, "simulated" if answer.simulated else "clinical")
            tally[kind] = tally.get(kind, 0) + 1
            hops = answer.hops
            total.observe(max(0.0, hops["recorded"] - hops["observed"]))
            last.observe(max(0.0, hops["recorded"] - hops["inferred"]))
    for (task, audience), number in tally.items():
        meters.outcomes.labels(task=task, fate="answered").inc(number)
        meters.results_published.labels(task=task, audience=audience).inc(number)


class Record:
    """Answers of images into PostgreSQL, many in one transaction.

    One batch at a time and in the order of the log: revisions of an object are numbered as they were observed.
    """

    name = "record"
    topics = (topics.ANSWERS,)
    accepts: tuple[type[Base], ...] = (Answer,)
    order: Literal["key", "none"] = "key"
    batch = Batch(max_events=256, max_wait_s=0.02, at_once=1)
    in_flight = 512

    def __init__(self, database: Ledger, clock: Clock) -> None:
        self._database, self._clock = database, clock

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[list[Outcome]]:
        """The visible results to publish, one list a delivery; raises DatabaseUnavailable."""
        now = self._clock.time()
        recorded = await self._database.record([_stamped(delivery.event, now) for delivery in batch])
        await crash_points.reach("after-commit")
        count(recorded, self.name)
        return [outcomes_of(each, now) for each in recorded]


def _stamped(event: Base, now: float) -> Answer:
    assert isinstance(event, Answer)  # the loop hands over only what `accepts` names
    return msgspec.structs.replace(event, hops={**event.hops, "recorded": now})
