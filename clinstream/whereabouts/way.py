"""One event's way along the log: its stops in order, and the one where it waits now; nothing is printed here."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID

import msgspec

from adapters.database import StoredImage, StoredOutcome, StoredResult, Trail
from clinstream.reconciliation.log import LogRecord
from clinstream.reconciliation.positions import Positions, group_of
from clinstream.told import without_research
from clinstream.whereabouts.identify import Meant
from schemas import topics
from schemas.events import Answer

ORDER = (*topics.OBSERVED, *topics.WORK.values(), topics.ANSWERS)
ANY_TASK = "*"
HOPS = ("observed", "prepared", "inferred", "recorded")


class _OfEvent(msgspec.Struct):
    event_id: UUID
    task: str = ""


class _OfAnswer(msgspec.Struct):
    answer: _OfEvent
    task: str = ""


_of_event = msgspec.json.Decoder(_OfEvent)
_of_answer = msgspec.json.Decoder(_OfAnswer)


@dataclass(frozen=True, slots=True)
class Stop:
    """One record of the event: where it lies, which group takes it from there, and how many lie before it still."""

    topic: str
    partition: int
    offset: int
    at: str
    task: str = ""
    group: str = ""
    ahead: bool = False
    before: int = 0
    reason: str = ""


@dataclass(slots=True)
class Way:
    """Everything known of one event."""

    event_id: str
    object_id: str = ""
    subject_id: str = ""
    priority: str = ""
    stops: list[Stop] = field(default_factory=list)
    image: StoredImage | None = None
    answers: list[Answer] = field(default_factory=list)
    results: list[StoredResult] = field(default_factory=list)
    outcomes: list[StoredOutcome] = field(default_factory=list)

    @property
    def waits(self) -> Stop | None:
        """The last stop that its group has not come past, of a task that has no outcome yet."""
        ended = {outcome.task for outcome in self.outcomes if outcome.fate != "dead"}
        if ANY_TASK in ended:
            return None
        waiting = (stop for stop in reversed(self.stops) if stop.ahead and stop.task not in ended)
        # The stop at the door has no task: with any outcome the event has left it.
        return next((stop for stop in waiting if stop.task or not ended), None)

    def hops(self, answer: Answer) -> dict[str, float]:
        """Seconds that each hop of an answer took."""
        known = [name for name in HOPS if name in answer.hops]
        return {f"{a} to {b}": round(answer.hops[b] - answer.hops[a], 4) for a, b in pairwise(known)}

    def json(self) -> dict[str, Any]:
        """The whole way for machines; no personal data."""
        return {
            "event_id": self.event_id,
            "object_id": self.object_id,
            "subject_id": self.subject_id,
            "priority": self.priority,
            "blob_uri": self.image.blob_uri if self.image else None,
            "stops": [asdict(stop) for stop in self.stops],
            "waits": asdict(self.waits) if self.waits else None,
            "answers": [
                {**msgspec.to_builtins(without_research(answer)), "hop_seconds": self.hops(answer)}
                for answer in self.answers
            ],
            "results": [
                {
                    "result_id": str(each.result.result_id),
                    "task": each.result.task,
                    "revision": each.result.revision,
                    "version": each.result.answer.version,
                    "label": each.result.answer.label,
                    "score": each.result.answer.score,
                    "visible_at": each.visible_at.isoformat(),
                    "withdrawn_at": each.withdrawn_at.isoformat() if each.withdrawn_at else None,
                    "use_status": each.result.answer.use_status,
                }
                for each in self.results
            ],
            "outcomes": [
                {
                    "task": each.task,
                    "fate": each.fate,
                    "code": each.code,
                    "reason": each.reason,
                    "answer_id": str(each.answer_id or ""),
                }
                for each in self.outcomes
            ],
        }


def ways(
    meant: Meant,
    records: Iterable[LogRecord],
    positions: Positions,
    follow_ups: Mapping[str, str] | None = None,
) -> list[Way]:
    """The ways of all events that are meant, in the order in which they entered the log.

    `records` are those of all topics on the way; `follow_ups` names the second task of each first one.
    """
    chained = follow_ups or {}
    found: dict[str, Way] = {}
    for record in sorted(records, key=_rank):
        event, task = _event_of(record)
        if record.topic in topics.OBSERVED and (event in meant.events or _is_meant(record, meant)):
            way = found.setdefault(event, Way(event))
            way.object_id, way.subject_id = record.text("ce_objectid"), record.text("ce_subject")
            way.priority = record.text("ce_priority") or "routine"
        if event in found:
            found[event].stops.append(_stop(record, task, positions, chained))
    _add_stored(found, meant.trail)
    return list(found.values())


def _rank(record: LogRecord) -> tuple[int, str, int]:
    return (ORDER.index(record.topic) if record.topic in ORDER else len(ORDER), record.text("ce_time"), record.offset)


def _is_meant(record: LogRecord, meant: Meant) -> bool:
    return record.text("ce_objectid") in meant.objects or record.text("ce_subject") in meant.subjects


def _event_of(record: LogRecord) -> tuple[str, str]:
    """The accepted event that a record belongs to, and its task where it has one."""
    if record.topic in (topics.DEAD_FAILED, topics.DEAD_UNPROCESSABLE):
        return record.text("dead_event_id"), record.text("ce_task")
    if record.topic in topics.OBSERVED or record.topic in topics.WORK.values():
        event, _, task = record.text("ce_id").partition("/")
        return event, task
    try:
        if record.topic in (topics.ANSWERS, topics.OUTCOMES):
            known = _of_event.decode(record.value)
            return str(known.event_id), known.task
        result = _of_answer.decode(record.value)
        return str(result.answer.event_id), result.task
    except msgspec.MsgspecError:
        return "", ""


def _stop(record: LogRecord, task: str, positions: Positions, follow_ups: Mapping[str, str]) -> Stop:
    """A result of a first task is a stop on the way to the second, which it waits for there."""
    asks = record.topic.startswith(topics.RESULTS) and task in follow_ups
    on_the_way = record.topic in ORDER or asks
    task = follow_ups[task] if asks else task
    group = group_of(record) if on_the_way else ""
    ahead = on_the_way and positions.is_ahead(record)
    return Stop(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        at=record.text("ce_time"),
        task=task,
        group=group,
        ahead=ahead,
        before=positions.before(record) if ahead else 0,
        reason=record.text("dead_reason"),
    )


def _add_stored(found: dict[str, Way], trail: Trail) -> None:
    for image in trail.images:
        found.setdefault(str(image.event_id), Way(str(image.event_id), image.object_id, image.subject_id)).image = image
    for outcome in trail.outcomes:
        way = found.setdefault(str(outcome.event_id), Way(str(outcome.event_id), outcome.object_id, outcome.subject_id))
        way.outcomes.append(outcome)
    for answer in trail.answers:
        if str(answer.event_id) in found:
            found[str(answer.event_id)].answers.append(answer)
    for result in trail.results:
        if str(result.result.answer.event_id) in found:
            found[str(result.result.answer.event_id)].results.append(result)
