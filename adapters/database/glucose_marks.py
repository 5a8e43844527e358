"""Marks of days whose readings changed, made in the transaction that changes them; who computes anew is elsewhere."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.columns import Column, arrays, names, unnest
from adapters.database.records import Wearer

NEAR = timedelta(minutes=25)
"""A reading changes what its neighbours stand for, which may lie beyond midnight (`consumers.glycaemia.REACH_MS`)."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A day of a wearer, between which times its readings changed, and how often since it was last computed."""

    wearer: Wearer
    day: date
    from_at: datetime
    to_at: datetime
    changes: int = 1


COLUMNS: tuple[Column[Mark], ...] = (
    Column("subject_id", "text", lambda m: m.wearer[0]),
    Column("simulated", "bool", lambda m: m.wearer[1]),
    Column("day", "date", lambda m: m.day),
    Column("from_at", "timestamptz", lambda m: m.from_at),
    Column("to_at", "timestamptz", lambda m: m.to_at),
)

# mark: the first mark of a day says since when it waits.
MARK = text(
    f"INSERT INTO glucose_marks ({names(COLUMNS)}, changes, marked_at) "
    f"SELECT given.*, 1, CAST(:now AS timestamptz) FROM {unnest(COLUMNS)} AS given "
    "ON CONFLICT (subject_id, simulated, day) DO UPDATE SET changes = glucose_marks.changes + 1, "
    "from_at = least(glucose_marks.from_at, EXCLUDED.from_at), to_at = greatest(glucose_marks.to_at, EXCLUDED.to_at)"
)

# marks-due: all marks of the wearers who have waited longest.
DUE = text(
    "SELECT m.subject_id, m.simulated, m.day, m.from_at, m.to_at, m.changes FROM glucose_marks m JOIN ("
    "SELECT subject_id, simulated, min(marked_at) AS since FROM glucose_marks WHERE marked_at <= :before "
    "GROUP BY subject_id, simulated ORDER BY since LIMIT :wearers) AS due USING (subject_id, simulated) "
    "ORDER BY m.subject_id, m.simulated, m.day LIMIT :days"
)

# marks-hold: skips those that a writer holds, so that no writer of readings ever waits for us while we wait for it.
HOLD = text(
    "SELECT m.subject_id, m.simulated, m.day, m.changes FROM glucose_marks m JOIN "
    "unnest(CAST(:subject_id AS text[]), CAST(:simulated AS bool[]), CAST(:day AS date[])) "
    "AS asked(subject_id, simulated, day) USING (subject_id, simulated, day) "
    "ORDER BY m.subject_id, m.simulated, m.day FOR UPDATE OF m SKIP LOCKED"
)
_THESE = (
    "unnest(CAST(:subject_id AS text[]), CAST(:simulated AS bool[]), CAST(:day AS date[])) "
    "AS done(subject_id, simulated, day) "
    "WHERE m.subject_id = done.subject_id AND m.simulated = done.simulated AND m.day = done.day"
)
CLEAR = text(f"DELETE FROM glucose_marks m USING {_THESE}")
LATER = text(f"UPDATE glucose_marks m SET marked_at = :now FROM {_THESE}")

# mark-everything: after a rebuild, every day that has readings or had them.
EVERYTHING = text(
    f"INSERT INTO glucose_marks ({names(COLUMNS)}, changes, marked_at) "
    "SELECT subject_id, simulated, day, min(from_at), max(to_at), 1, clock_timestamp() FROM ("
    "SELECT subject_id, simulated, measured_at::date AS day, measured_at AS from_at, measured_at AS to_at "
    "FROM readings UNION ALL SELECT subject_id, simulated, day, day, day FROM glucose_days) AS found "
    "GROUP BY subject_id, simulated, day ON CONFLICT DO NOTHING"
)


OLDEST = text("SELECT min(marked_at) FROM glucose_marks")


async def mark(connection: AsyncConnection, changed: Iterable[tuple[Wearer, datetime]], now: datetime) -> None:
    """Marks the days of these (wearer, sensor time), and the neighbouring ones near midnight."""
    found: dict[tuple[Wearer, date], tuple[datetime, datetime]] = {}
    for wearer, at in changed:
        for day in {(at - NEAR).date(), at.date(), (at + NEAR).date()}:
            first, last = found.get((wearer, day), (at, at))
            found[wearer, day] = (min(first, at), max(last, at))
    if found:
        # Sorted, so that two writers meet at their first common row.
        rows = [Mark(wearer, day, *found[wearer, day]) for wearer, day in sorted(found)]
        await connection.execute(MARK, {**arrays(COLUMNS, rows), "now": now})


async def due(connection: AsyncConnection, before: datetime, *, wearers: int, days: int) -> list[Mark]:
    """Marks of those who wait since `before` or longer: at most so many wearers and days."""
    rows = await connection.execute(DUE, {"before": before, "wearers": wearers, "days": days})
    return [Mark((row.subject_id, row.simulated), row.day, row.from_at, row.to_at, row.changes) for row in rows]


async def clear(connection: AsyncConnection, marks: Sequence[Mark], now: datetime) -> None:
    """Takes away marks that are as they were read; one that changed meanwhile waits anew, from now."""
    seen = {(mark.wearer, mark.day): mark.changes for mark in marks}
    held = [((row[0], row[1]), row[2], row[3]) for row in await connection.execute(HOLD, _keys(seen))]
    done = [(wearer, day) for wearer, day, changes in held if changes == seen[wearer, day]]
    again = [(wearer, day) for wearer, day, changes in held if changes != seen[wearer, day]]
    if done:
        await connection.execute(CLEAR, _keys(done))
    if again:
        await connection.execute(LATER, {**_keys(again), "now": now})


async def everything(connection: AsyncConnection) -> None:
    """Marks every day of every wearer."""
    await connection.execute(EVERYTHING)


def _keys(places: Iterable[tuple[Wearer, date]]) -> dict[str, list[object]]:
    kept = list(places)
    return {
        "subject_id": [wearer[0] for wearer, _ in kept],
        "simulated": [wearer[1] for wearer, _ in kept],
        "day": [day for _, day in kept],
    }


async def oldest(connection: AsyncConnection) -> datetime | None:
    """Since when the oldest mark waits; None where there is none."""
    since: datetime | None = (await connection.execute(OLDEST)).scalar()
    return since
