"""Visible results that are withdrawn or amended: the row, the audit and the announcement in one transaction."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import identities, outbox
from adapters.database.records import Shown, Withdrawal
from schemas import envelope, topics
from schemas.errors import UserError
from schemas.events import Base, ResultAmended, ResultWithdrawn

SOURCE = "clinstream/results"
ORPHANED = "the result that asked for it was withdrawn"

SHOWN = (
    "SELECT v.answer_id, v.object_id, v.subject_id, v.task, v.revision, v.simulated, v.withdrawn_at "
    "FROM visible v JOIN answers a USING (answer_id)"
)

# shown-by-id: by the id of the winning answer; locked, so that two who change a result take turns.
BY_ID = text(f"{SHOWN} WHERE a.answer_id = :id AND v.object_id = a.object_id FOR UPDATE OF v")

# followers: the results that a result asked for and that still hold.
FOLLOWERS = text(
    f"{SHOWN} WHERE v.object_id = :thing AND a.follows = :id AND v.withdrawn_at IS NULL ORDER BY v.task FOR UPDATE OF v"
)

# standing-results-of: what holds of these objects.
OF_OBJECTS = text(
    f"{SHOWN} WHERE v.object_id = ANY(CAST(:things AS text[])) AND v.withdrawn_at IS NULL "
    "ORDER BY v.object_id, v.task, v.revision FOR UPDATE OF v"
)

# withdraw-visible, amend-visible: what was said first of a withdrawal stays, amendments add up.
WITHDRAW = text(
    "UPDATE visible SET withdrawn_at = :now, withdrawn_why = :why "
    "WHERE object_id = :thing AND task = :task AND answer_id = :id AND withdrawn_at IS NULL"
)
AMEND = text(
    "UPDATE visible SET amended_at = :now, amended = amended || CAST(:changed AS jsonb) "
    "WHERE object_id = :thing AND task = :task AND answer_id = :id"
)

# withdrawn-of: which of these results are withdrawn. FOR SHARE waits for a withdrawal under way, and makes a later one
# wait for us, so that it sees what we wrote.
WITHDRAWN_OF = text(
    "SELECT answer_id FROM (SELECT v.answer_id, v.withdrawn_at FROM visible v JOIN answers a USING (answer_id) "
    "WHERE a.answer_id = ANY(CAST(:ids AS uuid[])) AND v.object_id = a.object_id FOR SHARE OF v) AS found "
    "WHERE withdrawn_at IS NOT NULL"
)


async def withdraw(
    connection: AsyncConnection, result_id: UUID, *, by_whom: str, why: str, now: datetime
) -> Withdrawal:
    """Withdraws a result and the follow-ups that it asked for. Raises UserError when there is no such result."""
    row = (await connection.execute(BY_ID, {"id": result_id})).first()
    if row is None:
        raise UserError(f"There is no result {result_id}; `clinstream results --json` shows the ids.")
    shown = _shown(row)
    if shown.withdrawn_at is not None:
        return Withdrawal(shown, [], again=True)
    rows = await connection.execute(FOLLOWERS, {"thing": shown.object_id, "id": result_id})
    followed = [_shown(each) for each in rows]
    details: dict[str, object] = {
        "result": str(result_id),
        "task": shown.task,
        "subject": shown.subject_id,
        "followed": [str(each.result_id) for each in followed],
    }
    await identities.audit(connection, by_whom=by_whom, purpose=why, action="results.withdraw", details=details)
    await take_back(connection, [shown], why, now)
    await take_back(connection, followed, ORPHANED, now)
    return Withdrawal(shown, followed, again=False)


async def take_back(connection: AsyncConnection, results: Iterable[Shown], why: str, now: datetime) -> None:
    """Marks results as withdrawn and announces it; without an audit line, which is the caller's."""
    for each in results:
        await mark_withdrawn(connection, each.object_id, each.task, each.result_id, why, now)
        event = ResultWithdrawn(
            result_id=each.result_id,
            object_id=each.object_id,
            subject_id=each.subject_id,
            task=each.task,
            revision=each.revision,
            reason=why,
        )
        await _announce(connection, each, event, f"{each.result_id}/withdrawn", now)


async def take_back_of(connection: AsyncConnection, fallen: Mapping[str, str], now: datetime) -> None:
    """Withdraws what is visible of these objects, each for its reason; without an audit line, which is the caller's."""
    if not fallen:
        return
    rows = [_shown(row) for row in await connection.execute(OF_OBJECTS, {"things": sorted(fallen)})]
    for each in rows:
        await take_back(connection, [each], fallen[each.object_id], now)


async def mark_withdrawn(
    connection: AsyncConnection, object_id: str, task: str, result_id: UUID, why: str, at: datetime
) -> None:
    """The row alone, as a rebuild writes it."""
    values = {"thing": object_id, "task": task, "id": result_id, "why": why, "now": at}
    await connection.execute(WITHDRAW, values)


async def mark_amended(
    connection: AsyncConnection, object_id: str, task: str, result_id: UUID, changed: Mapping[str, str], at: datetime
) -> None:
    """The row alone, as a rebuild writes it."""
    values = {"thing": object_id, "task": task, "id": result_id, "changed": json.dumps(dict(changed)), "now": at}
    await connection.execute(AMEND, values)


async def amend(
    connection: AsyncConnection,
    result_id: UUID,
    *,
    change_id: str,
    changed: Mapping[str, str],
    reason: str,
    now: datetime,
) -> bool:
    """Notes what was said of a visible result and announces it, in the caller's transaction; whether it did.

    Nothing happens to a result that is unknown or withdrawn. `change_id` tells this change from others of the result
    (an override's id): the caller sees to it that each is made once. Follow-ups stay as they are: the image did not
    change, and a clinician assesses each result by itself.
    """
    row = (await connection.execute(BY_ID, {"id": result_id})).first()
    if row is None or row.withdrawn_at is not None:
        return False
    shown = _shown(row)
    await mark_amended(connection, shown.object_id, shown.task, shown.result_id, changed, now)
    event = ResultAmended(
        result_id=shown.result_id,
        object_id=shown.object_id,
        subject_id=shown.subject_id,
        task=shown.task,
        revision=shown.revision,
        changed=dict(changed),
        reason=reason,
    )
    await _announce(connection, shown, event, f"{result_id}/amended/{change_id}", now)
    return True


async def withdrawn_of(connection: AsyncConnection, ids: Sequence[UUID]) -> set[UUID]:
    """Those of these results that are withdrawn; none of the others can be until this transaction ends."""
    if not ids:
        return set()
    return set((await connection.execute(WITHDRAWN_OF, {"ids": list(ids)})).scalars())


async def _announce(connection: AsyncConnection, shown: Shown, event: Base, id: str, now: datetime) -> None:
    await outbox.enqueue(connection, *announcement(shown, event, id, now))


def announcement(
    shown: Shown, event: Base, id: str, now: datetime
) -> tuple[str, bytes, list[tuple[str, bytes]], bytes]:
    """Topic, key, headers and value of a change, on the topic and key of the result that it changes."""
    extensions = {"task": shown.task, "objectid": shown.object_id}
    if shown.simulated:
        extensions["simulated"] = "true"
    headers, value = envelope.pack(
        event, id=id, source=SOURCE, subject=shown.subject_id, time=now, extensions=extensions
    )
    return topics.results_topic(shown.task, simulated=shown.simulated), shown.subject_id.encode(), headers, value


def _shown(row: Row[Any]) -> Shown:
    return Shown(row.answer_id, row.object_id, row.subject_id, row.task, row.revision, row.simulated, row.withdrawn_at)
