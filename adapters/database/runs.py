"""Training runs: the row is the truth of a run, the topic only a bell; who works on one holds a lease on it."""

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.records import Run, RunState
from schemas import envelope, topics
from schemas.events import RetrainRequested

COLUMNS = (
    "request_id, task, retrain_window, reason, state, stage, attempt, worker, snapshot, version, figures, why, "
    "requested_at, ended_at"
)

# insert-run: one request is one run, however often the bell rings.
INSERT = text(
    "INSERT INTO runs (request_id, task, retrain_window, reason, state, requested_at) "
    "VALUES (:request_id, :task, :window, :reason, 'REQUESTED', :requested_at) ON CONFLICT (request_id) DO NOTHING"
)

# claim-run: the oldest unfinished one that nobody else holds; the worker's own from before a crash counts as free.
CLAIM = text(
    f"UPDATE runs SET state = 'RUNNING', worker = :worker, lease_until = :until, attempt = attempt + 1 "
    f"WHERE request_id = (SELECT request_id FROM runs WHERE ended_at IS NULL "
    f"AND (lease_until IS NULL OR lease_until < :now OR worker = :worker) "
    f"ORDER BY requested_at, request_id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING {COLUMNS}"
)

# hold-run: prolongs the lease of who still has it.
HOLD = text(
    "UPDATE runs SET lease_until = :until WHERE request_id = :id AND worker = :worker AND attempt = :attempt "
    "AND ended_at IS NULL RETURNING request_id"
)

# note-run: progress of who still has it; what is not given stays.
NOTE = text(
    "UPDATE runs SET stage = :stage, snapshot = coalesce(:snapshot, snapshot), version = coalesce(:version, version) "
    "WHERE request_id = :id AND worker = :worker AND attempt = :attempt AND ended_at IS NULL RETURNING request_id"
)

# end-run: the end of who still has it.
END = text(
    "UPDATE runs SET state = :state, stage = 'ended', why = :why, figures = CAST(:figures AS jsonb), ended_at = :now, "
    "lease_until = NULL WHERE request_id = :id AND worker = :worker AND attempt = :attempt AND ended_at IS NULL "
    "RETURNING request_id"
)

# release-run: gives an unfinished one back, to be taken again later.
RELEASE = text(
    "UPDATE runs SET state = 'REQUESTED', lease_until = NULL, worker = '', why = :why "
    "WHERE request_id = :id AND worker = :worker AND attempt = :attempt AND ended_at IS NULL"
)

EVERY = text(f"SELECT {COLUMNS} FROM runs ORDER BY requested_at DESC, request_id LIMIT :limit")


async def request(connection: AsyncConnection, asked: RetrainRequested) -> bool:
    """Writes the row of a request; False when it is there already."""
    values = {
        "request_id": asked.request_id,
        "task": asked.task,
        "window": asked.window,
        "reason": asked.reason,
        "requested_at": asked.requested_at,
    }
    return bool((await connection.execute(INSERT, values)).rowcount)


async def claim(connection: AsyncConnection, worker: str, lease: timedelta, now: datetime) -> Run | None:
    """Takes the oldest run that is free, or None."""
    row = (await connection.execute(CLAIM, {"worker": worker, "until": now + lease, "now": now})).first()
    return _run(row) if row is not None else None


async def hold(connection: AsyncConnection, run: Run, lease: timedelta, now: datetime) -> bool:
    """Prolongs the lease; False when somebody else has the run by now."""
    return (await connection.execute(HOLD, {**_mine(run), "until": now + lease})).first() is not None


async def note(
    connection: AsyncConnection, run: Run, stage: str, *, snapshot: str | None = None, version: str | None = None
) -> bool:
    """Notes how far a run has come; False when somebody else has it by now."""
    values = {**_mine(run), "stage": stage, "snapshot": snapshot, "version": version}
    return (await connection.execute(NOTE, values)).first() is not None


async def end(
    connection: AsyncConnection, run: Run, state: RunState, why: str, figures: Mapping[str, Any], now: datetime
) -> bool:
    """Ends a run; False when somebody else has it by now."""
    values = {**_mine(run), "state": state, "why": why, "figures": json.dumps(figures), "now": now}
    return (await connection.execute(END, values)).first() is not None


async def release(connection: AsyncConnection, run: Run, why: str) -> None:
    """Gives an unfinished run back."""
    await connection.execute(RELEASE, {**_mine(run), "why": why})


async def every(connection: AsyncConnection, limit: int) -> list[Run]:
    """The newest runs."""
    return [_run(row) for row in await connection.execute(EVERY, {"limit": limit})]


def announcement(asked: RetrainRequested) -> tuple[str, bytes, list[tuple[str, bytes]], bytes]:
    """Topic, key, headers and value of a request, for the outbox."""
    headers, value = envelope.pack(
        asked,
        id=str(asked.request_id),
        source="clinstream/retrain",
        subject=asked.task,
        time=asked.requested_at,
        extensions={"task": asked.task},
    )
    return topics.RETRAIN_REQUESTED, asked.task.encode(), headers, value


def _mine(run: Run) -> dict[str, UUID | str | int]:
    return {"id": run.request_id, "worker": run.worker, "attempt": run.attempt}


def _run(row: Row[Any]) -> Run:
    return Run(
        request_id=row.request_id,
        task=row.task,
        window=row.retrain_window,
        reason=row.reason,
        state=row.state,
        stage=row.stage,
        attempt=row.attempt,
        worker=row.worker,
        snapshot=row.snapshot,
        version=row.version,
        figures=row.figures,
        why=row.why,
        requested_at=row.requested_at,
        ended_at=row.ended_at,
    )
