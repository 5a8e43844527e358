"""Tables of glycaemic metrics: sums of days, windows as revisions, what is still to be published; no arithmetic."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.columns import Column, arrays, names, unnest
from adapters.database.glucose_marks import NEAR
from adapters.database.records import DaySums, MetricsRow, PlainReading, Wearer
from schemas.events import GlycaemicFigures

Place = tuple[Wearer, date]
SUMS = DaySums._fields

ASKED = "unnest(CAST(:subjects AS text[]), CAST(:simulated AS bool[])"

# readings-of-days: readings in force of these days and of the minutes around each.
READINGS = text(
    "SELECT asked.subject_id, asked.simulated, asked.day, r.times, r.mg_dl, r.clipped "
    f"FROM {ASKED}, CAST(:days AS date[])) AS asked(subject_id, simulated, day), LATERAL ("
    "SELECT array_agg((extract(epoch FROM measured_at) * 1000)::int8 ORDER BY measured_at) AS times, "
    "array_agg(glucose_mg_dl ORDER BY measured_at) AS mg_dl, array_agg(clipped ORDER BY measured_at) AS clipped FROM ("
    "SELECT DISTINCT ON (x.measured_at) x.measured_at, x.glucose_mg_dl, x.clipped, x.deleted FROM readings x "
    "WHERE x.subject_id = asked.subject_id AND x.simulated = asked.simulated "
    "AND x.measured_at >= asked.day - CAST(:near AS interval) "
    "AND x.measured_at < asked.day + interval '1 day' + CAST(:near AS interval) "
    "ORDER BY x.measured_at, x.revision DESC) AS latest WHERE NOT deleted) AS r"
)

# readings-between: those in force of one wearer, oldest first.
BETWEEN = text(
    "SELECT (extract(epoch FROM measured_at) * 1000)::int8, glucose_mg_dl, clipped FROM ("
    "SELECT DISTINCT ON (measured_at) measured_at, glucose_mg_dl, clipped, deleted "
    "FROM readings WHERE subject_id = :subject AND simulated = :simulated "
    "AND measured_at >= :first AND measured_at < :last ORDER BY measured_at, revision DESC) AS latest "
    "WHERE NOT deleted ORDER BY measured_at"
)

# readings-recent: those in force since a time, of many wearers.
RECENT = text(
    "SELECT asked.subject_id, asked.simulated, r.times, r.mg_dl, r.clipped "
    f"FROM {ASKED}) AS asked(subject_id, simulated), LATERAL ("
    "SELECT array_agg((extract(epoch FROM measured_at) * 1000)::int8 ORDER BY measured_at) AS times, "
    "array_agg(glucose_mg_dl ORDER BY measured_at) AS mg_dl, array_agg(clipped ORDER BY measured_at) AS clipped FROM ("
    "SELECT DISTINCT ON (x.measured_at) x.measured_at, x.glucose_mg_dl, x.clipped, x.deleted FROM readings x "
    "WHERE x.subject_id = asked.subject_id AND x.simulated = asked.simulated AND x.measured_at >= :since "
    "ORDER BY x.measured_at, x.revision DESC) AS latest WHERE NOT deleted) AS r"
)


@dataclass(frozen=True, slots=True)
class _Day:
    place: Place
    sums: DaySums


def _type(name: str) -> str:
    return "int4" if name in ("readings", "clipped") else "int8"


def _sum(place: int) -> Callable[[_Day], int]:
    return lambda day: day.sums[place]


DAY_COLUMNS: tuple[Column[_Day], ...] = (
    Column("subject_id", "text", lambda d: d.place[0][0]),
    Column("simulated", "bool", lambda d: d.place[0][1]),
    Column("day", "date", lambda d: d.place[1]),
    *(Column(name, _type(name), _sum(place)) for place, name in enumerate(SUMS)),
)
# put-days
PUT_DAYS = text(
    f"INSERT INTO glucose_days ({names(DAY_COLUMNS)}) SELECT * FROM {unnest(DAY_COLUMNS)} "
    "ON CONFLICT (subject_id, simulated, day) DO UPDATE SET " + ", ".join(f"{name} = EXCLUDED.{name}" for name in SUMS)
)
# days-of: sums of the days from `first` to `last` of each wearer.
DAYS = text(
    f"SELECT d.subject_id, d.simulated, d.day, {', '.join('d.' + name for name in SUMS)} "
    f"FROM {ASKED}, CAST(:first AS date[]), CAST(:last AS date[])) AS asked(subject_id, simulated, first, last) "
    "JOIN glucose_days d ON d.subject_id = asked.subject_id AND d.simulated = asked.simulated "
    "AND d.day BETWEEN asked.first AND asked.last"
)

METRICS_COLUMNS: tuple[Column[MetricsRow], ...] = (
    Column("subject_id", "text", lambda m: m.wearer[0]),
    Column("simulated", "bool", lambda m: m.wearer[1]),
    Column("ends_on", "date", lambda m: m.ends_on),
    Column("days", "int4", lambda m: m.days),
    Column("figures", "text", lambda m: msgspec.json.encode(m.figures).decode()),
)
# revise: a window whose figures are what they were keeps its revision.
REVISE = text(
    "INSERT INTO glucose_metrics AS m (subject_id, simulated, ends_on, days, revision, figures, computed_at) "
    "SELECT given.subject_id, given.simulated, given.ends_on, given.days, 1, given.figures::jsonb, "
    f"CAST(:now AS timestamptz) FROM {unnest(METRICS_COLUMNS)} AS given({names(METRICS_COLUMNS)}) "
    "ON CONFLICT (subject_id, simulated, ends_on, days) DO UPDATE SET revision = m.revision + 1, "
    "figures = EXCLUDED.figures, computed_at = EXCLUDED.computed_at, published = false "
    "WHERE m.figures <> EXCLUDED.figures"
)
ROW = "subject_id, simulated, ends_on, days, figures, revision, computed_at"
UNPUBLISHED = text(f"SELECT {ROW} FROM glucose_metrics WHERE NOT published ORDER BY computed_at LIMIT :limit")
# published: only the revision that was sent; one made meanwhile is still to be.
PUBLISHED = text(
    "UPDATE glucose_metrics m SET published = true "
    f"FROM {ASKED}, CAST(:ends AS date[]), CAST(:days AS int4[]), CAST(:revisions AS int4[])) "
    "AS sent(subject_id, simulated, ends_on, days, revision) WHERE m.subject_id = sent.subject_id "
    "AND m.simulated = sent.simulated AND m.ends_on = sent.ends_on AND m.days = sent.days "
    "AND m.revision = sent.revision"
)
OF_WEARER = text(
    f"SELECT {ROW} FROM glucose_metrics WHERE subject_id = :subject AND simulated = :simulated "
    "AND ends_on >= :since ORDER BY ends_on, days"
)


async def readings_of_days(connection: AsyncConnection, places: Sequence[Place]) -> dict[Place, list[PlainReading]]:
    """Readings in force of each wearer's day and of the 25 minutes around it, oldest first."""
    values = {**_asked([wearer for wearer, _ in places]), "days": [day for _, day in places], "near": NEAR}
    return {
        ((row.subject_id, row.simulated), row.day): list(
            map(PlainReading, row.times or (), row.mg_dl or (), row.clipped or ())
        )
        for row in await connection.execute(READINGS, values)
    }


async def readings_between(
    connection: AsyncConnection, wearer: Wearer, first: datetime, last: datetime
) -> list[PlainReading]:
    """Readings in force of a wearer in [first, last), oldest first."""
    values = {"subject": wearer[0], "simulated": wearer[1], "first": first, "last": last}
    return [PlainReading(*row) for row in await connection.execute(BETWEEN, values)]


async def recent(
    connection: AsyncConnection, wearers: Sequence[Wearer], since: datetime
) -> dict[Wearer, list[PlainReading]]:
    """Readings in force of these wearers since a time, oldest first."""
    rows = await connection.execute(RECENT, {**_asked(wearers), "since": since})
    return {
        (row.subject_id, row.simulated): list(map(PlainReading, row.times or (), row.mg_dl or (), row.clipped or ()))
        for row in rows
    }


async def put_days(connection: AsyncConnection, sums: Mapping[Place, DaySums]) -> None:
    """Stores the sums of days; those of a day without readings stay as zeros."""
    rows = [_Day(place, sums[place]) for place in sorted(sums)]
    await connection.execute(PUT_DAYS, arrays(DAY_COLUMNS, rows))


async def days_of(
    connection: AsyncConnection, spans: Mapping[Wearer, tuple[date, date]]
) -> dict[Wearer, dict[date, DaySums]]:
    """The stored sums of these wearers' days from the first to the last named."""
    wearers = list(spans)
    values = {**_asked(wearers), "first": [spans[w][0] for w in wearers], "last": [spans[w][1] for w in wearers]}
    found: dict[Wearer, dict[date, DaySums]] = {wearer: {} for wearer in wearers}
    for row in await connection.execute(DAYS, values):
        found[row[0], row[1]][row[2]] = DaySums(*row[3:])
    return found


async def revise(connection: AsyncConnection, rows: Sequence[MetricsRow], now: datetime) -> int:
    """Stores windows, those that changed as the next revision; returns how many changed."""
    if not rows:
        return 0
    ordered = sorted(rows, key=lambda row: (row.wearer, row.ends_on, row.days))
    return (await connection.execute(REVISE, {**arrays(METRICS_COLUMNS, ordered), "now": now})).rowcount


async def unpublished(connection: AsyncConnection, limit: int) -> list[MetricsRow]:
    """Windows whose present revision was not announced, oldest first."""
    return [_row(row) for row in await connection.execute(UNPUBLISHED, {"limit": limit})]


async def mark_published(connection: AsyncConnection, rows: Sequence[MetricsRow]) -> None:
    """Notes that these revisions were announced."""
    values: dict[str, Any] = {
        **_asked([row.wearer for row in rows]),
        "ends": [row.ends_on for row in rows],
        "days": [row.days for row in rows],
        "revisions": [row.revision for row in rows],
    }
    await connection.execute(PUBLISHED, values)


async def of_wearer(connection: AsyncConnection, wearer: Wearer, since: date) -> list[MetricsRow]:
    """The windows of a wearer that end on `since` or later, oldest first."""
    values = {"subject": wearer[0], "simulated": wearer[1], "since": since}
    return [_row(row) for row in await connection.execute(OF_WEARER, values)]


def _row(row: Any) -> MetricsRow:
    figures = msgspec.convert(row.figures, GlycaemicFigures)
    wearer = (row.subject_id, row.simulated)
    return MetricsRow(wearer, row.ends_on, row.days, figures, row.revision, row.computed_at)


def _asked(wearers: Sequence[Wearer]) -> dict[str, Any]:
    return {"subjects": [wearer[0] for wearer in wearers], "simulated": [wearer[1] for wearer in wearers]}
