"""Results on their way to PACS and FHIR servers: the table is the queue; what is sent, and how, is others' part."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import identities
from adapters.database.records import Export, ExportState, Told
from schemas import ids

COLUMNS = (
    "export_id, result_id, task, object_id, subject_id, action, change, changed, destination, state, reason, urgent, "
    "attempts, refusals, next_at, until, filed_at, ended_at, sent"
)

# file-export: once for ever; a result that is read again from its topic is filed already.
FILE = text(
    "INSERT INTO exports (export_id, result_id, task, object_id, subject_id, action, change, changed, destination, "
    "state, reason, urgent, next_at, until, filed_at, ended_at) "
    "VALUES (:export_id, :result_id, :task, :object_id, :subject_id, :action, :change, CAST(:changed AS jsonb), "
    ":destination, :state, :reason, :urgent, :now, :until, :now, :ended) ON CONFLICT (export_id) DO NOTHING"
)

# claim-exports: urgent ones first. An amendment waits for what it amends: for an earlier row of the same result and
# destination that is not over.
CLAIM = text(
    f"UPDATE exports SET attempts = attempts + 1, next_at = :lease WHERE export_id IN ("
    "SELECT export_id FROM exports AS e WHERE state = 'waiting' AND next_at <= :now AND NOT EXISTS ("
    "SELECT 1 FROM exports AS before WHERE before.result_id = e.result_id AND before.destination = e.destination "
    "AND before.state = 'waiting' AND before.filed < e.filed) "
    f"ORDER BY urgent DESC, next_at, filed LIMIT :limit FOR UPDATE SKIP LOCKED) RETURNING {COLUMNS}, filed"
)

# end-export, put-off-export: only while it waits; what a person cancelled or sent again meanwhile stands.
END = text(
    "UPDATE exports SET state = :state, reason = :reason, sent = CAST(:sent AS jsonb), ended_at = :now "
    "WHERE export_id = :id AND state = 'waiting'"
)
PUT_OFF = text(
    "UPDATE exports SET next_at = :next_at, reason = :reason, refusals = :refusals "
    "WHERE export_id = :id AND state = 'waiting'"
)

# exports-of: newest first.
OF = text(
    f"SELECT {COLUMNS} FROM exports WHERE (CAST(:state AS text) IS NULL OR state = :state) "
    "AND (CAST(:result AS uuid) IS NULL OR result_id = :result OR result_id IN "
    "(SELECT report_id FROM study_reports WHERE results @> ARRAY[CAST(:result AS uuid)])) "
    "ORDER BY filed DESC LIMIT :limit"
)

# delivered: what was tried twice may have left the first time, before a crash.
DELIVERED = text(
    "SELECT action, change, sent FROM exports WHERE result_id = :result AND destination = :destination "
    "AND (state IN ('sent', 'confirmed') OR attempts > 1) ORDER BY filed"
)

# waiting-exports: how many.
COUNT = text("SELECT count(*) FROM exports WHERE state = 'waiting'")

# resend-exports: by the id of the export or of its result.
RESEND = text(
    "UPDATE exports SET state = 'waiting', reason = :why, refusals = 0, next_at = :now, until = :until, "
    "ended_at = NULL "
    "WHERE (export_id = :id OR result_id = :id OR result_id IN "
    "(SELECT report_id FROM study_reports WHERE results @> ARRAY[CAST(:id AS uuid)])) "
    "AND (CAST(:destination AS text) IS NULL OR destination = :destination) "
    "RETURNING export_id"
)

# may-tell: the visible results of a patient or a study, each with the reports that may have left to tell it: of the
# study those that the image decides. The study as well, since a PACS may have lost the issuer of the patient's number,
# which makes another patient. Among the patient's own it needs no index.
MAY_TELL = text(
    "WITH own AS (SELECT a.answer_id, v.task, a.label FROM images i "
    "JOIN visible v ON v.object_id = i.object_id AND v.event_id = i.event_id "
    "JOIN answers a ON a.answer_id = v.answer_id AND a.object_id = v.object_id "
    "WHERE i.subject_id = :subject OR i.study_id = :study) "
    "SELECT answer_id AS by_id, own.* FROM own UNION SELECT r.report_id, own.* FROM own "
    "JOIN study_reports r ON r.results @> ARRAY[own.answer_id] AND r.results[1] = own.answer_id ORDER BY 2, 1"
)


async def file(connection: AsyncConnection, rows: Sequence[Export]) -> int:
    """Files those that are new, in their order; returns how many were."""
    new = 0
    for row in rows:
        values = {
            "export_id": row.export_id,
            "result_id": row.result_id,
            "task": row.task,
            "object_id": row.object_id,
            "subject_id": row.subject_id,
            "action": row.action,
            "change": row.change,
            "changed": json.dumps(row.changed),
            "destination": row.destination,
            "state": row.state,
            "reason": row.reason,
            "urgent": row.urgent,
            "now": row.filed_at,
            "until": row.until,
            "ended": row.ended_at,
        }
        new += (await connection.execute(FILE, values)).rowcount
    return new


async def claim(connection: AsyncConnection, limit: int, lease: timedelta, now: datetime) -> list[Export]:
    """Takes at most `limit` that are due; nobody else gets them until the lease is over."""
    rows = await connection.execute(CLAIM, {"limit": limit, "lease": now + lease, "now": now})
    return [_export(row) for row in sorted(rows, key=lambda row: (not row.urgent, row.filed))]


async def end(
    connection: AsyncConnection, id: UUID, state: ExportState, reason: str, sent: Sequence[str], now: datetime
) -> None:
    """Notes how one ended."""
    values = {"id": id, "state": state, "reason": reason, "sent": json.dumps(list(sent)), "now": now}
    await connection.execute(END, values)


async def put_off(connection: AsyncConnection, id: UUID, until: datetime, reason: str, refusals: int) -> None:
    """Notes why one did not leave, and when it is due again."""
    await connection.execute(PUT_OFF, {"id": id, "next_at": until, "reason": reason, "refusals": refusals})


async def every(
    connection: AsyncConnection, *, state: ExportState | None, result: UUID | None, limit: int
) -> list[Export]:
    """The newest exports, in a state or of a result where that is asked."""
    rows = await connection.execute(OF, {"state": state, "result": result, "limit": limit})
    return [_export(row) for row in rows]


async def delivered(connection: AsyncConnection, result: UUID, destination: str) -> list[tuple[str, str, list[str]]]:
    """(action, change, SOP Instance UIDs) of what a destination was sent, or may have been, oldest first."""
    rows = await connection.execute(DELIVERED, {"result": result, "destination": destination})
    return [(row.action, row.change, list(row.sent)) for row in rows]


async def waiting(connection: AsyncConnection) -> int:
    """How many wait."""
    return int((await connection.execute(COUNT)).scalar_one())


async def resend(
    connection: AsyncConnection,
    id: UUID,
    *,
    destination: str | None,
    until: datetime,
    by_whom: str,
    why: str,
    now: datetime,
) -> list[UUID]:
    """Has the exports of that id, or of the result of that id, sent once more, audited; which those are."""
    values = {"id": id, "destination": destination, "why": "asked for again", "now": now, "until": until}
    found = list((await connection.execute(RESEND, values)).scalars())
    details: dict[str, object] = {"exports": [str(each) for each in found]}
    if found:
        await identities.audit(connection, by_whom=by_whom, purpose=why, action="exports.resend", details=details)
    return found


async def told(connection: AsyncConnection, uids: Sequence[str], subject: str, study: str) -> list[Told]:
    """The results of a patient or a study that these objects of ours tell, each once.

    By the UIDs that follow from the reports, and not by what is noted of sendings: a reader may be quicker than the
    note. A note that takes a result back tells nothing of it.
    """
    rows = (await connection.execute(MAY_TELL, {"subject": subject, "study": study})).all()
    found = {row.answer_id: row for row in rows if not ids.report_uids(row.by_id).isdisjoint(uids)}
    return [Told(row.answer_id, row.task, row.label) for row in found.values()]


def _export(row: Row[Any]) -> Export:
    return Export(
        export_id=row.export_id,
        result_id=row.result_id,
        task=row.task,
        object_id=row.object_id,
        subject_id=row.subject_id,
        action=row.action,
        change=row.change,
        changed=row.changed,
        destination=row.destination,
        state=row.state,
        reason=row.reason,
        urgent=row.urgent,
        attempts=row.attempts,
        refusals=row.refusals,
        next_at=row.next_at,
        until=row.until,
        filed_at=row.filed_at,
        ended_at=row.ended_at,
        sent=tuple(row.sent),
    )
