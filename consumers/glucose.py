"""Glucose in one step: readings, windows, forecasts and results of a micro-batch, because hops would cost more.

Which readings a window holds and which is the newest is worked out in `wearers`; what is true, the database says.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, Protocol
from uuid import UUID, uuid4

import msgspec
import numpy.typing as npt

from adapters import telemetry
from adapters.clock import Clock
from adapters.database import (
    Key,
    Recorded,
    StoredOutcome,
    StoredReading,
    Taking,
    Visible,
    Wearer,
    Window,
    WindowsMoved,
)
from adapters.database.readings import EPOCH, time_ms
from adapters.windows import WindowCache
from consumers import answers, crash_points, record
from consumers.ask import Ask, Told
from consumers.delivery import Delivery
from consumers.glucose_rows import owned, prepared
from consumers.outcomes import Batch, DeadLetter, Decide, Outcome
from consumers.wearers import Contents, Course, follow, is_new
from schemas import ids, topics
from schemas.errors import DatabaseUnavailable, OutOfRange, TooFewYet
from schemas.events import Answer, Base, Fate, GlucoseObserved, OutcomeDecided
from schemas.findings import Finding
from schemas.windows import GlucoseWindow
from triton_models.model import Model

Lane = Literal["live", "backfill"]
TRIES = 20
STALE_S = 900.0
AHEAD = timedelta(seconds=900)

STALE = "stale"
SUPERSEDED = "a newer reading of the wearer was answered"
DELETED = "the reading is taken back"
TOO_OLD = "the newest reading is more than 15 minutes old"
FROM_THE_FUTURE = "the sensor time lies more than 15 minutes after the arrival; set the clock of the uploader"
NO_MODEL = "no model reads glucose"
NO_FORECAST = Finding(label=STALE, score=0.0, threshold=0.0, probabilities={}, abstained=False)

Told_before = Mapping[UUID, Mapping[str, StoredOutcome]]


class Readings(record.Ledger, Protocol):
    """The part of the database that keeps readings; all raise DatabaseUnavailable."""

    async def windows(self, wearers: Sequence[Wearer]) -> dict[Wearer, Window]:
        """The windows of these wearers as they stand."""
        ...

    async def readings_at(self, places: Sequence[tuple[Wearer, int]]) -> list[StoredReading]:
        """Every stored content of these (wearer, sensor time in milliseconds)."""
        ...

    async def outcomes_of(self, event_ids: Sequence[UUID]) -> list[StoredOutcome]:
        """The outcomes of these events."""
        ...

    async def take(self, taking: Taking) -> list[Recorded]:
        """Stores all of it in one transaction; raises WindowsMoved when a window was not the present one."""
        ...


@dataclass(slots=True)
class _Work:
    """What a batch comes to, before any of it is written."""

    batch: Sequence[Delivery]
    events: list[GlucoseObserved]
    outcomes: list[list[Outcome]]
    courses: dict[Wearer, Course] = field(default_factory=dict)
    answers: list[tuple[int, Answer]] = field(default_factory=list)
    decided: list[OutcomeDecided] = field(default_factory=list)
    touched: set[Wearer] = field(default_factory=set)


class Glucose:
    """From one topic of glucose readings to `results.<task>`, for every model that reads glucose.

    Each wearer gets one forecast a micro-batch, for the newest reading; the others end as `superseded`. Order is by
    key, and the lanes never hold a wearer at the same time: see `adapters.database.readings`.
    """

    accepts: tuple[type[Base], ...] = (GlucoseObserved,)
    order: Literal["key", "none"] = "key"
    batch = Batch(max_events=256, max_wait_s=0.05, at_once=2)
    in_flight = 768

    def __init__(
        self,
        lane: Lane,
        models: Mapping[str, Model],
        *,
        database: Readings,
        windows: WindowCache,
        ask: Ask,
        clock: Clock,
    ) -> None:
        self.name = f"glucose.{lane}"
        self.topics = (topics.OBSERVED_GLUCOSE[lane],)
        self._models = [model for model in models.values() if model.card.consumes == "glucose"]
        self._database, self._cache, self._ask, self._clock = database, windows, ask, clock

    async def __call__(self, batch: Sequence[Delivery]) -> Sequence[list[Outcome]]:
        """One list of outcomes a delivery; raises what parks or slows the lane (Triton or database away)."""
        moved: frozenset[Wearer] = frozenset()
        for _ in range(TRIES):
            try:
                return await self._once(batch, moved)
            except WindowsMoved as error:
                moved |= error.wearers
                telemetry.metrics().window_reads.labels(lane=self.name, source="moved").inc(len(error.wearers))
        raise DatabaseUnavailable(f"readings of the same wearers were changed by others {TRIES} times")

    async def _once(self, batch: Sequence[Delivery], moved: frozenset[Wearer]) -> Sequence[list[Outcome]]:
        work = _Work(batch, [_observed(each.event) for each in batch], [[] for _ in batch])
        before = await self._look(work, moved)
        for model in self._models:
            asked = await self._sort(model, work, before)
            if asked:
                await self._answer(model, work, asked)
        if not self._models:
            self._end(
                work, [place for c in work.courses.values() for place in c.places], "*", NO_MODEL, "not_applicable"
            )
        await self._write(work)
        return work.outcomes

    async def _look(self, work: _Work, moved: frozenset[Wearer]) -> Told_before:
        """Works out the courses of all wearers; returns what became of events whose readings are stored already."""
        wearers: dict[Wearer, list[tuple[int, int, GlucoseObserved]]] = {}
        seen: set[UUID] = set()
        for place, event in enumerate(work.events):
            if event.event_id in seen:
                continue  # delivered twice in one batch: the first one's outcome is this one's
            seen.add(event.event_id)
            if event.measured_at > event.observed_at + AHEAD:
                work.outcomes[place].append(Decide(self._decision(work, place, "*", "refused", FROM_THE_FUTURE)))
                continue
            wearers.setdefault((event.subject_id, event.simulated), []).append((place, time_ms(event), event))
        windows = await self._windows(list(wearers), moved)
        known = await self._known(wearers, windows, moved)
        for wearer, events in wearers.items():
            work.courses[wearer] = follow(wearer, windows[wearer], events, known.get(wearer, {}))
        stored = [
            event.event_id
            for wearer, there in known.items()
            for _, time, event in wearers[wearer]
            if event.content in there.get(time, ())
        ]
        before: dict[UUID, dict[str, StoredOutcome]] = {}
        for row in await self._database.outcomes_of(stored) if stored else ():
            if row.fate != "dead":
                before.setdefault(row.event_id, {})[row.task] = row
        return before

    async def _windows(self, wearers: Sequence[Wearer], moved: frozenset[Wearer]) -> dict[Wearer, Window]:
        """A window for each, from the cache where it has one that is not known to be old."""
        trusted = [wearer for wearer in wearers if wearer not in moved]
        found = await self._cache.get(trusted) if trusted else {}
        reads = telemetry.metrics().window_reads
        source = "database" if found is not None else "fallback"
        found = dict(found or {})
        missing = [wearer for wearer in wearers if wearer not in found]
        reads.labels(lane=self.name, source="cache").inc(len(found))
        if missing:
            reads.labels(lane=self.name, source=source).inc(len(missing))
            found.update(await self._database.windows(missing))
        return found

    async def _known(
        self,
        wearers: Mapping[Wearer, Sequence[tuple[int, int, GlucoseObserved]]],
        windows: Mapping[Wearer, Window],
        moved: frozenset[Wearer],
    ) -> dict[Wearer, dict[int, Contents]]:
        """What is stored at the sensor times of the events, where the windows do not say that it is nothing."""
        places = {
            (wearer, time)
            for wearer, events in wearers.items()
            for _, time, _ in events
            if wearer in moved or not is_new(windows[wearer], time)
        }
        known: dict[Wearer, dict[int, dict[str, int]]] = {}
        for row in await self._database.readings_at(sorted(places)) if places else ():
            known.setdefault(row.wearer, {}).setdefault(row.time_ms, {})[row.content] = row.revision
        return {wearer: dict(times) for wearer, times in known.items()}

    async def _sort(self, model: Model, work: _Work, before: Told_before) -> list[tuple[int, Course]]:
        """The newest reading of each wearer, for the model; every other event ends here."""
        task = model.card.name
        asked: list[tuple[int, Course]] = []
        again: list[tuple[int, StoredOutcome]] = []
        for course in work.courses.values():
            older, back = [], []
            for place in course.places:
                told = before.get(work.events[place].event_id)
                stored = (told.get(task) or told.get("*")) if told else None
                if stored is not None:
                    again.append((place, stored))
                elif place == course.newest:
                    asked.append((place, course))
                elif work.events[place].deleted:
                    back.append(place)
                else:
                    older.append(place)
            self._end(work, older, task, SUPERSEDED, "superseded")
            self._end(work, back, task, DELETED, "not_applicable")
        if again:
            await self._repeat(work, task, again)
        return asked

    async def _repeat(self, work: _Work, task: str, again: Sequence[tuple[int, StoredOutcome]]) -> None:
        """A redelivery ends as it did before: whether that was announced before a crash nobody knows."""
        keys = [_key(work.events[place], task) for place, stored in again if stored.fate == "answered"]
        visible = await self._database.already_visible(keys)
        for place, stored in again:
            event = work.events[place]
            found = visible.get(_key(event, task)) if stored.fate == "answered" else None
            if found is not None:
                work.outcomes[place] += self._shown(work, place, task, found)
            else:
                fate, reason = stored.fate, stored.reason
                decided = self._decision(work, place, stored.task, fate, reason, answer_id=stored.answer_id)
                work.outcomes[place].append(Decide(decided))

    def _shown(self, work: _Work, place: int, task: str, found: Visible) -> list[Outcome]:
        event = work.events[place]
        if found.event_id != event.event_id:
            origin, now = work.batch[place].origin, self._clock.time()
            return [Decide(answers.sighting(event, task, found.result.result_id, origin=origin, now=now))]
        # What was withdrawn since must not appear after its withdrawal.
        return [record.publish_result(found.result)] if found.withdrawn_at is None else []

    async def _answer(self, model: Model, work: _Work, asked: Sequence[tuple[int, Course]]) -> None:
        oldest_ms = (self._clock.time() - STALE_S) * 1000
        stale = [(place, course) for place, course in asked if course.times_ms[-1] < oldest_ms]
        fresh = [(place, course) for place, course in asked if course.times_ms[-1] >= oldest_ms]
        for place, course in stale:
            self._note_stale(model, work, place, course, TOO_OLD)
        choices = [self._ask.choose(model, course.wearer[0]) for _, course in fresh]
        # A wearer's own vector goes along only to the version that it was fitted to.
        windows = [
            GlucoseWindow(
                [time / 1000 for time in course.times_ms], course.glucose_mg_dl, course.before.own.to(choice.version)
            )
            for (_, course), choice in zip(fresh, choices, strict=True)
        ]
        kept, tensors = self._prepare(model, work, fresh, windows)
        if not kept:
            return
        places, chosen = [fresh[number] for number in kept], [choices[number] for number in kept]
        prepared = self._clock.time()
        told_all = await self._ask(model, [course.wearer[0] for _, course in places], tensors, choices=chosen)
        await crash_points.reach("after-triton")
        meter = telemetry.metrics().hop_seconds.labels(lane=self.name, hop="infer")
        for number, (place, course), told in zip(kept, places, told_all, strict=True):
            meter.observe(max(0.0, told.inferred_at - prepared))
            self._note(model, work, place, course, owned(model, told, windows[number]), prepared=prepared)

    def _prepare(
        self, model: Model, work: _Work, fresh: Sequence[tuple[int, Course]], windows: Sequence[GlucoseWindow]
    ) -> tuple[list[int], list[npt.NDArray[Any]]]:
        """Which of `fresh` the model may see, and their tensors; others are refused or put aside with the reason."""
        rows, refused = prepared(model, windows)
        kept: list[int] = []
        tensors = []
        for number, (place, course) in enumerate(fresh):
            error = refused.get(number)
            if error is None:
                kept.append(number)
                tensors.append(rows[number])
            elif isinstance(error, TooFewYet):
                self._note_stale(model, work, place, course, str(error))
            elif isinstance(error, OutOfRange):
                self._end(work, [place], model.card.name, str(error), "refused")
            else:
                work.outcomes[place].append(
                    DeadLetter("unprocessable", str(error), type(error).__name__, task=model.card.name)
                )
        return kept, tensors

    def _note_stale(self, model: Model, work: _Work, place: int, course: Course, reason: str) -> None:
        told = Told(NO_FORECAST, self._ask.choose(model, course.wearer[0]), 0, self._clock.time())
        self._note(model, work, place, course, told, prepared=told.inferred_at, stale=reason)

    def _note(
        self, model: Model, work: _Work, place: int, course: Course, told: Told, *, prepared: float, stale: str = ""
    ) -> None:
        event, origin = work.events[place], work.batch[place].origin
        made = answers.build(
            model.card,
            event,
            told,
            preprocessing_version=model.card.preprocessing_version,
            observed=origin,
            origin=origin,
            hops={"observed": event.observed_at.timestamp(), "prepared": prepared},
            reason=stale,
            inputs=() if stale else inputs(event, course),
        )
        work.answers.append((place, made))
        work.touched.add(course.wearer)

    async def _write(self, work: _Work) -> None:
        """Everything in one transaction, then the cache: it never holds what was rolled back."""
        changed = {w: c for w, c in work.courses.items() if c.new or w in work.touched}
        new = [reading for course in changed.values() for reading in course.new]
        if not (changed or work.decided):
            return
        fallen = {thing: why for course in changed.values() for thing, why in course.fallen.items()}
        now, stamp = self._clock.time(), uuid4()
        stamped = [msgspec.structs.replace(made, hops={**made.hops, "recorded": now}) for _, made in work.answers]
        stamps = {wearer: course.before.stamp for wearer, course in changed.items()}
        recorded = await self._database.take(Taking(stamp, stamps, new, stamped, work.decided, fallen))
        await crash_points.reach("after-commit")
        whole = {wearer: course for wearer, course in changed.items() if not course.removed}
        await self._cache.put({w: Window(stamp, c.times_ms, c.glucose_mg_dl, c.before.own) for w, c in whole.items()})
        telemetry.metrics().readings_stored.labels(lane=self.name).inc(len(new))
        record.count(recorded, self.name)
        for (place, _), each in zip(work.answers, recorded, strict=True):
            work.outcomes[place] += record.outcomes_of(each, now)
            if each.first_time and each.won and each.answer.label == STALE:
                telemetry.metrics().stale_answers.labels(task=each.answer.task).inc()

    def _end(self, work: _Work, places: Iterable[int], task: str, reason: str, fate: Fate) -> None:
        for place in places:
            decided = self._decision(work, place, task, fate, reason)
            work.decided.append(decided)
            work.outcomes[place].append(Decide(decided))
            work.touched.add((work.events[place].subject_id, work.events[place].simulated))

    def _decision(
        self, work: _Work, place: int, task: str, fate: Fate, reason: str, *, answer_id: UUID | None = None
    ) -> OutcomeDecided:
        event = work.events[place]
        return OutcomeDecided(
            event_id=event.event_id,
            task=task,
            fate=fate,
            reason=reason,
            object_id=event.object_id,
            content=event.content,
            subject_id=event.subject_id,
            answer_id=answer_id,
            origin=work.batch[place].origin,
            decided_at=self._clock.time(),
        )


def inputs(event: GlucoseObserved, course: Course) -> tuple[str, str]:
    """The object ids of the first and the last reading of the window that a forecast was made from."""
    first = ids.reading_object_id(event.subject_id, EPOCH + timedelta(milliseconds=course.times_ms[0]))
    return (ids.SIMULATED if event.simulated else "") + first, event.object_id


def _key(event: GlucoseObserved, task: str) -> Key:
    return event.object_id, event.content, task


def _observed(event: Base) -> GlucoseObserved:
    assert isinstance(event, GlucoseObserved)  # the loop hands over only what `accepts` names
    return event
