"""Glucose readings and the stamps of wearers' windows; which reading is answered is not decided here.

A wearer's stamp is replaced in the transaction that changes the wearer's readings, and only if it is still the one of
the window that the change was worked out from. So a window from anywhere, a cache that missed a change included, can
be used at once: if it was not the present one, nothing is written and the caller looks again.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import glucose_marks, recording, results_changes, wearer_models
from adapters.database import outcomes as outcome_rows
from adapters.database.columns import Column, arrays, copy, names, unnest
from adapters.database.records import (
    NOTHING_OWN,
    NewReading,
    Recorded,
    StoredReading,
    Taking,
    Wearer,
    Window,
    WindowsMoved,
)
from schemas.events import GlucoseObserved
from schemas.windows import MOST, SPAN_S

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS = timedelta(milliseconds=1)


def time_ms(event: GlucoseObserved) -> int:
    """The sensor time in milliseconds since the epoch, as precisely as the object id names it."""
    return (event.measured_at - EPOCH) // MS


COLUMNS: tuple[Column[NewReading], ...] = (
    Column("subject_id", "text", lambda r: r.event.subject_id),
    Column("simulated", "bool", lambda r: r.event.simulated),
    Column("measured_at", "timestamptz", lambda r: EPOCH + time_ms(r.event) * MS),
    Column("content", "text", lambda r: r.event.content),
    Column("revision", "int4", lambda r: r.revision),
    Column("event_id", "uuid", lambda r: r.event.event_id),
    Column("glucose_mg_dl", "float4", lambda r: r.event.glucose_mg_dl),
    Column("raw_value", "float8", lambda r: r.event.raw_value),
    Column("raw_unit", "text", lambda r: r.event.raw_unit),
    Column("clipped", "text", lambda r: r.event.clipped),
    Column("trend", "text", lambda r: r.event.trend),
    Column("device", "text", lambda r: r.event.device),
    Column("observed_at", "timestamptz", lambda r: r.event.observed_at),
    Column("deleted", "bool", lambda r: r.event.deleted),
)

# insert-readings: a taken content and a taken revision are both left out. Who inserts holds the wearer's stamp, so
# that no other content can come in between.
INSERT = text(
    f"INSERT INTO readings ({names(COLUMNS)}) SELECT * FROM {unnest(COLUMNS)} AS given({names(COLUMNS)}) "
    "WHERE NOT EXISTS (SELECT 1 FROM readings r "
    "WHERE r.subject_id = given.subject_id AND r.simulated = given.simulated "
    "AND r.measured_at = given.measured_at AND r.content = given.content) ON CONFLICT DO NOTHING"
)

ASKED = "unnest(CAST(:subjects AS text[]), CAST(:simulated AS bool[])"

# change-stamps, first-stamps: tell whose they could replace or make.
CHANGE = text(
    "UPDATE glucose_windows AS w SET stamp = :stamp, changed_at = clock_timestamp() "
    f"FROM {ASKED}, CAST(:before AS uuid[])) AS asked(subject_id, simulated, before) "
    "WHERE w.subject_id = asked.subject_id AND w.simulated = asked.simulated AND w.stamp = asked.before "
    "RETURNING w.subject_id, w.simulated"
)
FIRST = text(
    "INSERT INTO glucose_windows (subject_id, simulated, stamp) "
    f"SELECT asked.*, CAST(:stamp AS uuid) FROM {ASKED}) AS asked ON CONFLICT DO NOTHING "
    "RETURNING subject_id, simulated"
)

# No other content of the sensor time of `n` has a higher revision.
IN_FORCE = (
    "NOT EXISTS (SELECT 1 FROM readings h WHERE h.subject_id = n.subject_id AND h.simulated = n.simulated "
    "AND h.measured_at = n.measured_at AND h.revision > n.revision)"
)

# windows-of: the newest readings of each wearer, the highest revision of each sensor time unless it is a deletion,
# and the stamp.
WINDOWS = text(
    "SELECT asked.subject_id, asked.simulated, w.stamp, r.times, r.mg_dl "
    f"FROM {ASKED}) AS asked(subject_id, simulated) "
    "JOIN glucose_windows w USING (subject_id, simulated), LATERAL ("
    "SELECT array_agg((extract(epoch FROM measured_at) * 1000)::int8 ORDER BY measured_at) AS times, "
    "array_agg(glucose_mg_dl ORDER BY measured_at) AS mg_dl FROM ("
    "SELECT measured_at, glucose_mg_dl FROM ("
    "SELECT DISTINCT ON (x.measured_at) x.measured_at, x.glucose_mg_dl, x.deleted FROM readings x "
    "WHERE x.subject_id = asked.subject_id AND x.simulated = asked.simulated AND x.measured_at > ("
    "SELECT n.measured_at FROM readings n "
    f"WHERE n.subject_id = asked.subject_id AND n.simulated = asked.simulated AND NOT n.deleted AND {IN_FORCE} "
    "ORDER BY n.measured_at DESC LIMIT 1) - CAST(:span AS interval) "
    "ORDER BY x.measured_at DESC, x.revision DESC) AS latest "
    "WHERE NOT deleted ORDER BY measured_at DESC LIMIT :most) AS newest) AS r"
)

# readings-at: every stored content of these sensor times.
AT = text(
    "SELECT r.subject_id, r.simulated, (extract(epoch FROM r.measured_at) * 1000)::int8, r.content, r.revision "
    f"FROM {ASKED}, CAST(:times AS timestamptz[])) AS asked(subject_id, simulated, measured_at) "
    "JOIN readings r USING (subject_id, simulated, measured_at)"
)


async def take_new(connection: AsyncConnection, taking: Taking, now: datetime) -> list[Recorded]:
    """As `take`, of what `is_new` says of; raises Raced where something was there after all, then `take` is called."""
    await _stamp(connection, taking)
    await copy(connection, "readings", COLUMNS, _in_order(taking.readings))
    times = (((r.event.subject_id, r.event.simulated), r.event.measured_at) for r in taking.readings)
    await glucose_marks.mark(connection, times, now)
    recorded = await recording.record_new(connection, taking.answers, now) if taking.answers else []
    await outcome_rows.add(connection, [*recording.outcomes_of(recorded, now), *taking.decided], now)
    return recorded


def is_new(taking: Taking) -> bool:
    """Whether all of it speaks of readings that come in for the first time, as nearly always."""
    events = {reading.event.event_id for reading in taking.readings}
    return (
        bool(events)
        and not taking.fallen
        and all(reading.revision == 1 for reading in taking.readings)
        and all(answer.event_id in events and answer.follows is None for answer in taking.answers)
        and all(outcome.event_id in events for outcome in taking.decided)
    )


async def take(connection: AsyncConnection, taking: Taking, now: datetime) -> list[Recorded]:
    """Stores everything in the transaction of `connection`; one `Recorded` an answer, in order.

    Raises WindowsMoved when a window was not the present one; the caller rolls back and works it out again.
    """
    await _stamp(connection, taking)
    await _insert(connection, taking.readings)
    times = (((r.event.subject_id, r.event.simulated), r.event.measured_at) for r in taking.readings)
    await glucose_marks.mark(connection, times, now)
    recorded = await recording.record(connection, taking.answers, now) if taking.answers else []
    await results_changes.take_back_of(connection, taking.fallen, now)
    await outcome_rows.upsert(connection, taking.decided, now)
    return recorded


async def windows(connection: AsyncConnection, wearers: Sequence[Wearer], now: datetime) -> dict[Wearer, Window]:
    """The windows of these wearers; without readings one that is empty and has no stamp.

    What is wearers' own is read before the stamps: what is replaced in between leaves a window that counts as moved.
    """
    own = await wearer_models.own(connection, wearers, now)
    values = {**_asked(wearers), "span": timedelta(seconds=SPAN_S), "most": MOST}
    found = {wearer: Window(None) for wearer in wearers}
    for row in await connection.execute(WINDOWS, values):
        times, mg_dl = tuple(row.times or ()), tuple(row.mg_dl or ())
        wearer = (row.subject_id, row.simulated)
        found[wearer] = Window(row.stamp, times, mg_dl, own.get(wearer, NOTHING_OWN))
    return found


async def at(connection: AsyncConnection, places: Sequence[tuple[Wearer, int]]) -> list[StoredReading]:
    """Every stored content of these wearers' sensor times (milliseconds)."""
    asked = _asked([wearer for wearer, _ in places])
    values = {**asked, "times": [EPOCH + time * MS for _, time in places]}
    return [StoredReading((row[0], row[1]), *row[2:]) for row in await connection.execute(AT, values)]


async def _stamp(connection: AsyncConnection, taking: Taking) -> None:
    # Sorted, so that two writers meet at their first common wearer.
    wearers = sorted(taking.stamps)
    known: list[tuple[Wearer, UUID]] = []
    unknown: list[Wearer] = []
    for wearer in wearers:
        before = taking.stamps[wearer]
        if before is None:
            unknown.append(wearer)
        else:
            known.append((wearer, before))
    done: set[Wearer] = set()
    if known:
        asked = {**_asked([wearer for wearer, _ in known]), "before": [before for _, before in known]}
        rows = await connection.execute(CHANGE, {**asked, "stamp": taking.stamp})
        done.update((row[0], row[1]) for row in rows)
    if unknown:
        rows = await connection.execute(FIRST, {**_asked(unknown), "stamp": taking.stamp})
        done.update((row[0], row[1]) for row in rows)
    if len(done) != len(wearers):
        raise WindowsMoved(set(wearers) - done)


async def _insert(connection: AsyncConnection, readings: Sequence[NewReading]) -> None:
    if not readings:
        return
    rows = _in_order(readings)
    contents = {(r.event.subject_id, r.event.simulated, r.event.measured_at, r.event.content) for r in rows}
    if len(contents) != len(rows):
        raise ValueError("one content twice at a sensor time")
    done = await connection.execute(INSERT, arrays(COLUMNS, rows))
    if done.rowcount != len(rows):
        raise WindowsMoved((row.event.subject_id, row.event.simulated) for row in rows)


def _in_order(readings: Sequence[NewReading]) -> list[NewReading]:
    # Sorted, so that two writers meet at their first common row.
    return sorted(readings, key=lambda r: (r.event.subject_id, r.event.simulated, r.event.measured_at, r.revision))


def _asked(wearers: Sequence[Wearer]) -> dict[str, list[object]]:
    return {"subjects": [wearer[0] for wearer in wearers], "simulated": [wearer[1] for wearer in wearers]}
