"""Rejection notes: which objects were taken back, and the withdrawal of their results, whenever these appear."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import results_changes
from adapters.database.columns import Column, arrays, names, unnest

BY_WHOM = "rejection note"
AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Rejection:
    """One object that a note (`event_id`, about `subject_id`) took back, and why in words of ours."""

    object_id: str
    event_id: UUID
    subject_id: str
    sender: str
    why: str
    observed_at: datetime


COLUMNS: tuple[Column[Rejection], ...] = (
    Column("object_id", "text", lambda r: r.object_id),
    Column("event_id", "uuid", lambda r: r.event_id),
    Column("subject_id", "text", lambda r: r.subject_id),
    Column("sender", "text", lambda r: r.sender),
    Column("why", "text", lambda r: r.why),
    Column("observed_at", "timestamptz", lambda r: r.observed_at),
)
INSERT = text(f"INSERT INTO rejections ({names(COLUMNS)}) SELECT * FROM {unnest(COLUMNS)} ON CONFLICT DO NOTHING")

# standing-rejected: a note takes back results of its own patient alone.
STANDING = text(
    "SELECT DISTINCT ON (v.answer_id) v.answer_id, r.why FROM rejections r "
    "JOIN visible v USING (object_id, subject_id) "
    f"WHERE v.withdrawn_at IS NULL ORDER BY v.answer_id, r.observed_at LIMIT {AT_ONCE}"
)


async def note(connection: AsyncConnection, rows: Sequence[Rejection]) -> None:
    """Stores what notes took back; a repeat changes nothing."""
    if rows:
        kept = sorted(rows, key=lambda r: (r.object_id, r.event_id))
        await connection.execute(INSERT, arrays(COLUMNS, kept))


async def apply(connection: AsyncConnection, now: datetime) -> int:
    """Withdraws results of rejected objects that still stand, as `results withdraw` does; returns how many."""
    rows = list(await connection.execute(STANDING))
    for row in rows:
        await results_changes.withdraw(connection, row.answer_id, by_whom=BY_WHOM, why=row.why, now=now)
    return len(rows)
