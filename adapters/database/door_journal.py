"""The table of what happened at the doors: one row an association; who writes it, and when, is decided elsewhere."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.columns import Column, arrays, names, unnest


@dataclass(frozen=True, slots=True)
class DoorEntry:
    """One association: who (`sender`, `called` AE titles, `address`), how it `ended`, and what came, as counts.

    `statuses` counts answers by their code (`A700`), `reasons` why anything was refused or warned of. Nothing of a data
    set is in it.
    """

    association_id: UUID
    door: str
    sender: str
    called: str
    address: str
    began_at: datetime
    seconds: float
    ended: str
    received_bytes: int
    statuses: Mapping[str, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    sop_classes: Mapping[str, int] = field(default_factory=dict)
    transfer_syntaxes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DoorFilter:
    """Which entries: the newest `limit` since a time, of one sender, or only those in which something was refused."""

    since: datetime | None = None
    sender: str | None = None
    refused: bool = False
    limit: int = 50


COLUMNS: tuple[Column[DoorEntry], ...] = (
    Column("association_id", "uuid", lambda e: e.association_id),
    Column("door", "text", lambda e: e.door),
    Column("sender", "text", lambda e: _plain(e.sender)),
    Column("called", "text", lambda e: _plain(e.called)),
    Column("address", "text", lambda e: _plain(e.address)),
    Column("began_at", "timestamptz", lambda e: e.began_at),
    Column("seconds", "double precision", lambda e: e.seconds),
    Column("ended", "text", lambda e: e.ended),
    Column("received_bytes", "bigint", lambda e: e.received_bytes),
    Column("statuses", "jsonb", lambda e: _counts(e.statuses)),
    Column("reasons", "jsonb", lambda e: _counts(e.reasons)),
    Column("sop_classes", "jsonb", lambda e: _counts(e.sop_classes)),
    Column("transfer_syntaxes", "jsonb", lambda e: _counts(e.transfer_syntaxes)),
)

# door-journal-add: an entry that was written and not known to be is written again.
INSERT = text(
    f"INSERT INTO door_journal ({names(COLUMNS)}) SELECT * FROM {unnest(COLUMNS)} "
    "ON CONFLICT (association_id) DO NOTHING"
)

# door-journal-list: newest first; warnings (Bxxx) were stored.
SELECT = text(
    f"SELECT {names(COLUMNS)} FROM door_journal "
    "WHERE (CAST(:since AS timestamptz) IS NULL OR began_at >= :since) "
    "AND (CAST(:sender AS text) IS NULL OR sender = :sender) "
    "AND (NOT :refused OR ended <> 'released' OR reasons <> '{}') "
    "ORDER BY began_at DESC, association_id LIMIT :limit"
)

# door-journal-prune: see the function; services cannot delete otherwise.
PRUNE = text("SELECT prune_door_journal(:before, :most)")
MOST = 5_000


async def add(connection: AsyncConnection, entries: Sequence[DoorEntry]) -> None:
    """Stores entries; one that is there already stays as it is."""
    await connection.execute(INSERT, arrays(COLUMNS, entries))


async def entries(connection: AsyncConnection, wanted: DoorFilter) -> list[DoorEntry]:
    """Entries, newest first."""
    values = {"since": wanted.since, "sender": wanted.sender, "refused": wanted.refused, "limit": wanted.limit}
    return [DoorEntry(*row) for row in await connection.execute(SELECT, values)]


async def prune(connection: AsyncConnection, before: datetime) -> int:
    """Deletes the oldest entries that began before a time, at most 5,000 and none of the last day; how many."""
    return int((await connection.execute(PRUNE, {"before": before, "most": MOST})).scalar_one())


def _counts(counts: Mapping[str, int]) -> str:
    return json.dumps({_plain(name): number for name, number in counts.items()})


def _plain(value: str) -> str:
    """PostgreSQL text cannot hold NUL, which a hostile AE title may."""
    return value.replace("\x00", "").encode("utf-8", "replace").decode()
