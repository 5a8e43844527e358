"""Answers as rows: how they are written and read back; which of them is visible is decided in `recording`."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.columns import Column, arrays, copy, names, unnest
from schemas.envelope import to_json
from schemas.events import Answer, ForecastPoint, Heat, Origin, Region, ResearchMeasurement

COLUMNS: tuple[Column[Answer], ...] = (
    Column("answer_id", "uuid", lambda a: a.answer_id),
    Column("event_id", "uuid", lambda a: a.event_id),
    Column("object_id", "text", lambda a: a.object_id),
    Column("content", "text", lambda a: a.content),
    Column("subject_id", "text", lambda a: a.subject_id),
    Column("task", "text", lambda a: a.task),
    Column("version", "text", lambda a: a.version),
    Column("preprocessing_version", "text", lambda a: a.preprocessing_version),
    Column("label", "text", lambda a: a.label),
    Column("score", "float8", lambda a: a.score),
    Column("threshold", "float8", lambda a: a.threshold),
    Column("probabilities", "jsonb", lambda a: to_json(a.probabilities).decode()),
    Column("abstained", "bool", lambda a: a.abstained),
    Column("arm", "text", lambda a: a.arm),
    Column("release_epoch", "int8", lambda a: a.release_epoch),
    Column("batch_size", "int4", lambda a: a.batch_size),
    Column("observed_topic", "text", lambda a: a.observed.topic),
    Column("observed_partition", "int4", lambda a: a.observed.partition),
    Column("observed_offset", "int8", lambda a: a.observed.offset),
    Column("origin_topic", "text", lambda a: a.origin.topic),
    Column("origin_partition", "int4", lambda a: a.origin.partition),
    Column("origin_offset", "int8", lambda a: a.origin.offset),
    Column("hops", "jsonb", lambda a: to_json(a.hops).decode()),
    Column("notice", "text", lambda a: a.notice),
    Column("use_status", "text", lambda a: a.use_status),
    Column("simulated", "bool", lambda a: a.simulated),
    Column("priority", "text", lambda a: a.priority),
    Column("forecast", "jsonb", lambda a: to_json(a.forecast).decode()),
    Column("reason", "text", lambda a: a.reason),
    Column("inputs", "jsonb", lambda a: to_json(a.inputs).decode()),
    Column("follows", "uuid", lambda a: a.follows),
    Column("warnings", "jsonb", lambda a: to_json(a.warnings).decode()),
    Column("regions", "jsonb", lambda a: to_json(a.regions).decode() if a.regions else "[]"),
    Column("heat", "jsonb", lambda a: to_json(a.heat).decode() if a.heat else None),
    Column("research", "jsonb", lambda a: to_json(a.research).decode() if a.research else None),
)

# insert-answers: keeps what is there already; tells which ones were new.
INSERT = text(
    f"INSERT INTO answers ({names(COLUMNS)}, recorded_at) "
    f"SELECT given.*, CAST(:now AS timestamptz) FROM {unnest(COLUMNS)} AS given "
    "ON CONFLICT (answer_id) DO NOTHING RETURNING answer_id"
)

# answers-by-id: whole rows, to be read with `answer_of`.
BY_ID = text(f"SELECT {names(COLUMNS)} FROM answers WHERE answer_id = ANY(CAST(:ids AS uuid[]))")


async def insert(connection: AsyncConnection, answers: Sequence[Answer], now: datetime) -> set[UUID]:
    """Stores the answers that are not there yet and returns their ids; sorted, so that two writers never deadlock."""
    rows = sorted({a.answer_id: a for a in reversed(answers)}.values(), key=lambda a: a.answer_id.int)
    found = await connection.execute(INSERT, {**arrays(COLUMNS, rows), "now": now})
    return set(found.scalars())


async def add(connection: AsyncConnection, answers: Iterable[Answer], now: datetime) -> None:
    """Stores answers of which none is there yet, each once; raises Raced where that is not so."""
    at: Column[Answer] = Column("recorded_at", "timestamptz", lambda _: now)
    await copy(connection, "answers", (*COLUMNS, at), sorted(answers, key=lambda a: a.answer_id.int))


async def by_id(connection: AsyncConnection, ids: Iterable[UUID]) -> dict[UUID, Answer]:
    """The stored answers of these ids."""
    wanted = list(ids)
    if not wanted:
        return {}
    rows = await connection.execute(BY_ID, {"ids": wanted})
    return {row.answer_id: answer_of(row) for row in rows}


def answer_of(row: Row[Any]) -> Answer:
    """The answer in a row that has all columns of `COLUMNS`."""
    return Answer(
        answer_id=row.answer_id,
        event_id=row.event_id,
        object_id=row.object_id,
        content=row.content,
        subject_id=row.subject_id,
        task=row.task,
        version=row.version,
        preprocessing_version=row.preprocessing_version,
        label=row.label,
        score=row.score,
        threshold=row.threshold,
        probabilities=_floats(row.probabilities),
        abstained=row.abstained,
        arm=row.arm,
        release_epoch=row.release_epoch,
        batch_size=row.batch_size,
        observed=Origin(topic=row.observed_topic, partition=row.observed_partition, offset=row.observed_offset),
        origin=Origin(topic=row.origin_topic, partition=row.origin_partition, offset=row.origin_offset),
        hops=_floats(row.hops),
        notice=row.notice,
        use_status=row.use_status,
        simulated=row.simulated,
        priority=row.priority,
        forecast=tuple(msgspec.convert(row.forecast, tuple[ForecastPoint, ...], strict=False)),
        reason=row.reason,
        inputs=tuple(row.inputs),
        follows=row.follows,
        warnings=tuple(row.warnings),
        regions=tuple(msgspec.convert(row.regions, tuple[Region, ...], strict=False)),
        heat=msgspec.convert(row.heat, Heat | None, strict=False),
        research=UNSET
        if row.research is None
        else msgspec.convert(row.research, tuple[ResearchMeasurement, ...], strict=False),
    )


def _floats(stored: dict[str, float]) -> dict[str, float]:
    """jsonb gives a float without a fraction back as an integer."""
    return {name: float(value) for name, value in stored.items()}
