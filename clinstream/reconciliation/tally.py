"""What became of each accepted event, told from records, positions and outcomes; nothing is read or printed here."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from clinstream.reconciliation.log import LogRecord
from clinstream.reconciliation.positions import Positions
from schemas import topics
from schemas.events import ResultPublished

ANY_TASK = "*"
FATES = ("answered", "refused", "not_applicable", "duplicate_of", "dead")
# Of several tasks' fates the first counts for the event: a dead task is what an operator has to see.
WEIGHT = ("dead", "answered", "superseded", "duplicate_of", "refused", "not_applicable")

Place = tuple[str, int, int]


class _Head(msgspec.Struct):
    """What is needed of a later event to know which accepted event it belongs to."""

    event_id: UUID
    task: str


class _Content(msgspec.Struct):
    event_id: UUID
    content: str


class _Result(msgspec.Struct):
    result_id: UUID
    object_id: str
    task: str
    answer: _Content


_head = msgspec.json.Decoder(_Head)
_result = msgspec.json.Decoder(_Result)


@dataclass(slots=True)
class Accepted:
    """One event that a door acknowledged: where its records stand, and what follows from it."""

    id: str
    object_id: str = ""
    ahead: bool = False
    routed: set[str] = field(default_factory=set)
    moving: set[str] = field(default_factory=set)
    fates: dict[str, str] = field(default_factory=dict)

    def verdict(self) -> str:
        """`lost`, `in_flight`, or the fate that counts for the event."""
        real = {task: fate for task, fate in self.fates.items() if fate != "dead"}
        if self.ahead and not real:
            return "in_flight"
        open_tasks = set() if ANY_TASK in self.fates else self.routed - self.fates.keys()
        if open_tasks - self.moving:
            return "in_flight" if self.ahead else "lost"
        if open_tasks:
            return "in_flight"
        if not self.fates:
            return "lost"
        # A dead letter of the whole event is history once a replay has given it a real outcome.
        counted = real if real and self.fates.get(ANY_TASK) == "dead" else self.fates
        return min(counted.values(), key=WEIGHT.index)


class Tally:
    """Takes all records, then all outcomes, and counts.

    `follow_ups` names the second task of each first one: an event that the first has answered owes an outcome of the
    second as well.
    """

    def __init__(self, positions: Positions, follow_ups: Mapping[str, str] | None = None) -> None:
        self._positions = positions
        self._follow_ups = dict(follow_ups or {})
        self._events: dict[str, Accepted] = {}
        self._objects: dict[str, set[str]] = defaultdict(set)
        self._results: dict[tuple[str, str, str], set[UUID]] = defaultdict(set)
        self._moved: list[tuple[str, str, bool]] = []
        self._set_aside: set[Place] = set()

    def add(self, record: LogRecord) -> None:
        """Takes one record of any of the topics that `reconcile` reads."""
        if record.topic in topics.OBSERVED:
            self._observe(record)
        elif record.topic in topics.WORK.values():
            event, _, task = record.text("ce_id").partition("/")
            self._moved.append((event, task or record.text("ce_task"), self._positions.is_ahead(record)))
        elif record.topic == topics.ANSWERS:
            self._answer(record)
        elif record.topic in (topics.DEAD_FAILED, topics.DEAD_UNPROCESSABLE):
            self._put_aside(record)
        elif record.text("ce_type") == ResultPublished.TYPE:
            found = _result.decode(record.value)
            self._results[found.object_id, found.answer.content, found.task].add(found.result_id)
            if found.task in self._follow_ups:
                event, task = str(found.answer.event_id), self._follow_ups[found.task]
                self._moved.append((event, task, self._positions.is_ahead(record)))

    def settle(self, outcomes: Iterable[tuple[UUID, str, str]]) -> None:
        """Takes the outcomes, read after everything else."""
        for event, task, moving in self._moved:
            known = self._events.get(event)
            if known is not None:
                known.routed.add(task)
                if moving:
                    known.moving.add(task)
        for event_id, task, fate in outcomes:
            known = self._events.get(str(event_id))
            if known is not None:
                known.fates[task] = fate
        self._owe_follow_ups()
        for place in self._set_aside:
            nameless = self._events.get(_name(place))
            if nameless is not None:
                nameless.fates[ANY_TASK] = "dead"

    def _owe_follow_ups(self) -> None:
        """An answered first task owes the second; what still carries the first one's answer carries both."""
        for event in self._events.values():
            for first, second in self._follow_ups.items():
                if event.fates.get(first) == "answered":
                    event.routed.add(second)
                    if first in event.moving:
                        event.moving.add(second)

    def report(self, acknowledged: Sequence[str] | None = None) -> "Report":
        """The counts; with `acknowledged` (event or object ids), of these instead of everything on the log."""
        events = self._events
        missing: list[str] = []
        if acknowledged is not None:
            missing = [name for name in acknowledged if name not in events and name not in self._objects]
            chosen = {id for name in acknowledged for id in ([name] if name in events else self._objects.get(name, ()))}
            events = {id: self._events[id] for id in sorted(chosen)}
        verdicts = {id: event.verdict() for id, event in events.items()}
        counts = Counter("answered" if verdict == "superseded" else verdict for verdict in verdicts.values())
        lost = [id for id, verdict in verdicts.items() if verdict == "lost"] + missing
        doubled = [key for key, ids in self._results.items() if len(ids) > 1]
        return Report(
            accepted=len(events) + len(missing),
            fates={fate: counts[fate] for fate in FATES},
            in_flight=counts["in_flight"],
            lost=lost,
            doubled=doubled,
        )

    def _observe(self, record: LogRecord) -> None:
        id = record.text("ce_id")
        try:
            id = str(UUID(id))
        except ValueError:
            # No door of ours wrote it; its place is its name, so that it cannot disappear unnoticed.
            id = _name((record.topic, record.partition, record.offset))
        event = self._events.setdefault(id, Accepted(id))
        event.ahead |= self._positions.is_ahead(record)
        event.object_id = record.text("ce_objectid")
        self._objects[event.object_id.removeprefix("simulated:")].add(id)

    def _answer(self, record: LogRecord) -> None:
        try:
            found = _head.decode(record.value)
        except msgspec.MsgspecError:
            return  # not written by a step of ours; what it belongs to cannot be known
        self._moved.append((str(found.event_id), found.task, self._positions.is_ahead(record)))

    def _put_aside(self, record: LogRecord) -> None:
        partition, offset = record.text("dead_partition"), record.text("dead_offset")
        if partition.isdecimal() and offset.isdecimal():
            self._set_aside.add((record.text("dead_topic"), int(partition), int(offset)))


def _name(place: Place) -> str:
    return "{}/{}/{}".format(*place)


@dataclass(frozen=True, slots=True)
class Report:
    """The counts of distinct events; `lost` by id, `doubled` as (object_id, content, task) with several results."""

    accepted: int
    fates: dict[str, int]
    in_flight: int
    lost: list[str]
    doubled: list[tuple[str, str, str]]

    @property
    def clean(self) -> bool:
        """Whether nothing was lost and nothing is visible twice."""
        return not self.lost and not self.doubled

    def json(self) -> dict[str, object]:
        """The published shape; `lost_ids` and `duplicate_objects` only when there are some."""
        found: dict[str, object] = {
            "accepted": self.accepted,
            **self.fates,
            "in_flight": self.in_flight,
            "lost": len(self.lost),
            "duplicates": len(self.doubled),
        }
        if self.lost:
            found["lost_ids"] = self.lost[:1000]
        if self.doubled:
            found["duplicate_objects"] = [
                {"object_id": thing, "content": content, "task": task} for thing, content, task in self.doubled[:1000]
            ]
        return found
