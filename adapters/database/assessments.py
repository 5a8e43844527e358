"""Clinicians' assessments of results: stored once, counted once, and a full window of corrections asks for retraining.

All of it is one transaction an assessment, so that a redelivery finds either everything or nothing of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import outbox, results_changes, runs
from adapters.database.records import Correction
from schemas.events import ResultAssessed, RetrainRequested
from schemas.ids import retrain_request_id

KEPT_CLOSED = -1
"""The window of a correction that was counted before a rebuild which could not tell in which one."""

# result-of: the visible result that an assessment speaks of, with the label that was answered.
RESULT_OF = text(
    "SELECT v.answer_id, v.object_id, v.event_id, v.subject_id, v.task, v.simulated, a.version, a.label "
    "FROM visible v JOIN answers a USING (answer_id) WHERE v.answer_id = :id AND v.object_id = a.object_id"
)

# lock-counter: who counts for a task takes turns; counting rows instead would miss the trigger when two stand at it.
MAKE_COUNTER = text(
    "INSERT INTO retrain_counters (task, n, retrain_window) VALUES (:task, 0, 0) ON CONFLICT (task) DO NOTHING"
)
LOCK_COUNTER = text("SELECT n, retrain_window FROM retrain_counters WHERE task = :task FOR UPDATE")
SET_COUNTER = text("UPDATE retrain_counters SET n = :n, retrain_window = :window WHERE task = :task")

# insert-assessment: a repeat changes nothing.
INSERT = text(
    "INSERT INTO assessments (override_id, result_id, task, object_id, event_id, subject_id, version, clinician_id, "
    "verdict, label, differs, counted_window, simulated, assessed_at, recorded_at) VALUES "
    "(:override_id, :result_id, :task, :object_id, :event_id, :subject_id, :version, :clinician_id, :verdict, :label, "
    ":differs, NULL, :simulated, :assessed_at, :now) ON CONFLICT (override_id) DO NOTHING RETURNING override_id"
)

# later-assessment: whether a later one of the same event and task is known, so that this one is history already.
LATER = text(
    "SELECT 1 FROM assessments WHERE event_id = :event_id AND task = :task AND override_id <> :override_id "
    "AND (assessed_at, override_id) > (CAST(:assessed_at AS timestamptz), CAST(:override_id AS uuid)) LIMIT 1"
)

# counted-assessments: in which windows this event and task counts already.
COUNTED = text(
    "SELECT override_id, counted_window FROM assessments "
    "WHERE event_id = :event_id AND task = :task AND counted_window IS NOT NULL"
)
SET_COUNTED = text("UPDATE assessments SET counted_window = :window WHERE override_id = :override_id")

# corrections-of: the latest assessment of each event of a task that differs from its answer, oldest first.
CORRECTIONS = text(
    "SELECT * FROM (SELECT DISTINCT ON (s.event_id) s.event_id, s.object_id, s.verdict, s.label, a.label AS answered, "
    "s.differs, s.assessed_at, a.observed_topic, a.observed_partition, a.observed_offset "
    "FROM assessments s JOIN visible v ON v.answer_id = s.result_id AND v.object_id = s.object_id "
    "JOIN answers a ON a.answer_id = s.result_id "
    "WHERE s.task = :task AND NOT s.simulated AND v.withdrawn_at IS NULL "
    "ORDER BY s.event_id, s.assessed_at DESC, s.override_id DESC) AS latest "
    "WHERE differs AND assessed_at <= :until ORDER BY assessed_at, event_id"
)

# open-windows: how far each task is from its next request.
WINDOWS = text("SELECT task, n, retrain_window FROM retrain_counters ORDER BY task")


@dataclass(frozen=True, slots=True)
class Rules:
    """Of a task: its labels, and after how many corrections it asks for retraining."""

    labels: tuple[str, ...]
    retrain_after: int


@dataclass(frozen=True, slots=True)
class Assessed:
    """What became of one assessment; `problem` says in words why it could not be taken.

    `again` marks a repeat, `counted` one that moved the counter, `requested` the request that it completed.
    """

    problem: str = ""
    task: str = ""
    again: bool = False
    counted: bool = False
    requested: UUID | None = None


async def assess(
    connection: AsyncConnection, event: ResultAssessed, rules: Mapping[str, Rules], now: datetime, *, mute: bool = False
) -> Assessed:
    """Takes one assessment, in the caller's transaction.

    `mute` stores without counting, announcing and asking: a rebuild does so. Each (event, task) counts once while its
    latest assessment differs from the answer; a correction that is taken back before its window is full leaves it.
    """
    row = (await connection.execute(RESULT_OF, {"id": event.result_id})).first()
    if row is None:
        return Assessed(problem=f"there is no result {event.result_id}; replay this once there is")
    rule = rules.get(row.task)
    if rule is None:
        return Assessed(problem=f"no model {row.task} is installed here", task=row.task)
    if event.label and event.label not in rule.labels:
        return Assessed(problem=f"{row.task} has no label of that name; it has {', '.join(rule.labels)}", task=row.task)
    differs = event.verdict == "rejected" or (event.verdict == "supplemented" and event.label != row.label)
    if event.verdict == "rejected" and event.label == row.label:
        return Assessed(problem="a rejection cannot name the label that was answered", task=row.task)
    counts = not row.simulated and not mute
    counter = await _locked(connection, row.task) if counts else None
    inserted = await connection.execute(INSERT, _values(event, row, differs=differs, now=now))
    if inserted.first() is None:
        return Assessed(task=row.task, again=True)
    if mute:
        return Assessed(task=row.task)
    if differs:
        changed = {"assessment": event.verdict, **({"label": event.label} if event.label else {})}
        await results_changes.amend(
            connection,
            event.result_id,
            change_id=str(event.override_id),
            changed=changed,
            reason=f"a clinician's assessment: {event.verdict}",
            now=now,
        )
    if counter is None:
        return Assessed(task=row.task)
    return await _count(connection, event, row, rule, counter, differs=differs, now=now)


async def _locked(connection: AsyncConnection, task: str) -> tuple[int, int]:
    await connection.execute(MAKE_COUNTER, {"task": task})
    found = (await connection.execute(LOCK_COUNTER, {"task": task})).one()
    return found.n, found.retrain_window


async def _count(
    connection: AsyncConnection,
    event: ResultAssessed,
    row: Row[Any],
    rule: Rules,
    counter: tuple[int, int],
    *,
    differs: bool,
    now: datetime,
) -> Assessed:
    n, window = counter
    same = {"event_id": row.event_id, "task": row.task}
    this = {**same, "override_id": event.override_id, "assessed_at": event.assessed_at}
    if (await connection.execute(LATER, this)).first() is not None:
        return Assessed(task=row.task)
    counted = list(await connection.execute(COUNTED, same))
    if not differs:
        taken_back = [each.override_id for each in counted if each.counted_window == window]
        for override_id in taken_back:
            await connection.execute(SET_COUNTED, {"override_id": override_id, "window": None})
        if taken_back:
            await connection.execute(
                SET_COUNTER, {"task": row.task, "n": max(0, n - len(taken_back)), "window": window}
            )
        return Assessed(task=row.task)
    if counted:
        return Assessed(task=row.task)
    await connection.execute(SET_COUNTED, {"override_id": event.override_id, "window": window})
    n += 1
    if n < rule.retrain_after:
        await connection.execute(SET_COUNTER, {"task": row.task, "n": n, "window": window})
        return Assessed(task=row.task, counted=True)
    await connection.execute(SET_COUNTER, {"task": row.task, "n": 0, "window": window + 1})
    request = RetrainRequested(
        request_id=retrain_request_id(row.task, window),
        task=row.task,
        window=window,
        corrections=n,
        reason=f"{n} corrections",
        requested_at=now,
    )
    await outbox.enqueue(connection, *runs.announcement(request))
    return Assessed(task=row.task, counted=True, requested=request.request_id)


async def corrections(connection: AsyncConnection, task: str, until: datetime) -> list[Correction]:
    """What clinicians corrected of a task up to a time, with where the assessed events were observed."""
    rows = await connection.execute(CORRECTIONS, {"task": task, "until": until})
    return [
        Correction(
            event_id=row.event_id,
            object_id=row.object_id,
            verdict=row.verdict,
            label=row.label,
            answered=row.answered,
            topic=row.observed_topic,
            partition=row.observed_partition,
            offset=row.observed_offset,
        )
        for row in rows
    ]


async def windows(connection: AsyncConnection) -> list[tuple[str, int, int]]:
    """(task, corrections in the open window, number of the window) of every task that was ever corrected."""
    return [(row[0], row[1], row[2]) for row in await connection.execute(WINDOWS)]


def _values(event: ResultAssessed, row: Row[Any], *, differs: bool, now: datetime) -> dict[str, object]:
    return {
        "override_id": event.override_id,
        "result_id": event.result_id,
        "task": row.task,
        "object_id": row.object_id,
        "event_id": row.event_id,
        "subject_id": row.subject_id,
        "version": row.version,
        "clinician_id": event.clinician_id,
        "verdict": event.verdict,
        "label": event.label,
        "differs": differs,
        "simulated": row.simulated,
        "assessed_at": event.assessed_at,
        "now": now,
    }


def in_order(events: Sequence[ResultAssessed]) -> list[ResultAssessed]:
    """As they were assessed, which is how a rebuild stores them."""
    return sorted(events, key=lambda event: (event.assessed_at, event.override_id))
