"""How events ended: the rows of `outcomes` and which fate wins over which; publishing them is the caller's part."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.columns import Column, arrays, copy, names, unnest
from adapters.database.records import StoredOutcome
from schemas.events import OutcomeDecided

# A higher fate replaces a lower one, an equal one is kept as it is: `answered` beats everything (a replayed event
# may be answered after all), and any real outcome beats `dead`.
RANK = {"dead": 0, "refused": 1, "not_applicable": 1, "superseded": 1, "duplicate_of": 2, "answered": 3}

_rank = "CASE {0} " + " ".join(f"WHEN '{fate}' THEN {rank}" for fate, rank in RANK.items()) + " END"


def moment(outcome: OutcomeDecided, now: datetime) -> datetime:
    """When the outcome was decided: as it says itself, else now."""
    return datetime.fromtimestamp(outcome.decided_at, UTC) if outcome.decided_at else now


COLUMNS: tuple[Column[OutcomeDecided], ...] = (
    Column("event_id", "uuid", lambda o: o.event_id),
    Column("task", "text", lambda o: o.task),
    Column("fate", "text", lambda o: o.fate),
    Column("reason", "text", lambda o: o.reason),
    Column("answer_id", "uuid", lambda o: o.answer_id),
    Column("object_id", "text", lambda o: o.object_id),
    Column("content", "text", lambda o: o.content),
    Column("subject_id", "text", lambda o: o.subject_id),
    Column("origin_topic", "text", lambda o: o.origin.topic if o.origin else None),
    Column("origin_partition", "int4", lambda o: o.origin.partition if o.origin else None),
    Column("origin_offset", "int8", lambda o: o.origin.offset if o.origin else None),
    Column("code", "text", lambda o: o.code),
)

# upsert-outcomes: a row is replaced only by a fate of higher rank.
UPSERT = text(
    f"INSERT INTO outcomes AS o ({names(COLUMNS)}, decided_at) "
    f"SELECT * FROM {unnest(COLUMNS, 'CAST(:decided_at AS timestamptz[])')} "
    "ON CONFLICT (event_id, task) DO UPDATE SET "
    + ", ".join(f"{c.name} = excluded.{c.name}" for c in COLUMNS[2:])
    + ", decided_at = excluded.decided_at "
    f"WHERE {_rank.format('excluded.fate')} > {_rank.format('o.fate')}"
)

STORED = "event_id, task, fate, reason, answer_id, object_id, content, subject_id, code"

# outcomes-of-events: what is known of these events, in a stable order.
OF_EVENTS = text(f"SELECT {STORED} FROM outcomes WHERE event_id = ANY(CAST(:ids AS uuid[])) ORDER BY event_id, task")

# all-outcomes: every row, for `reconcile`.
ALL = text("SELECT event_id, task, fate FROM outcomes")


async def upsert(connection: AsyncConnection, outcomes: Iterable[OutcomeDecided], now: datetime) -> None:
    """Stores outcomes; of several for one (event, task) the highest counts. Sorted against deadlocks."""
    best: dict[tuple[UUID, str], OutcomeDecided] = {}
    for outcome in outcomes:
        key = (outcome.event_id, outcome.task)
        if key not in best or RANK[outcome.fate] > RANK[best[key].fate]:
            best[key] = outcome
    if best:
        rows = [best[key] for key in sorted(best, key=lambda key: (key[0].int, key[1]))]
        await connection.execute(UPSERT, {**arrays(COLUMNS, rows), "decided_at": [moment(o, now) for o in rows]})


async def add(connection: AsyncConnection, outcomes: Iterable[OutcomeDecided], now: datetime) -> None:
    """Stores the outcomes of events that have none yet, one a task; raises Raced where that is not so."""
    at: Column[OutcomeDecided] = Column("decided_at", "timestamptz", lambda o: moment(o, now))
    rows = sorted(outcomes, key=lambda o: (o.event_id.int, o.task))
    if rows:
        await copy(connection, "outcomes", (*COLUMNS, at), rows)


async def of_events(connection: AsyncConnection, ids: Sequence[UUID]) -> list[StoredOutcome]:
    """The outcomes of these events."""
    rows = await connection.execute(OF_EVENTS, {"ids": list(ids)})
    return [StoredOutcome(*row) for row in rows]


async def every(connection: AsyncConnection) -> list[tuple[UUID, str, str]]:
    """(event_id, task, fate) of all outcomes."""
    return [(row[0], row[1], row[2]) for row in await connection.execute(ALL)]
