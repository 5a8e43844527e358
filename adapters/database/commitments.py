"""Requests for storage commitment: written before they are answered, claimed, judged, and kept once reported."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import identities

Reference = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""


@dataclass(frozen=True, slots=True)
class Commitment:
    """One request: who asked (`sender`, calling AE title), as what we were called, and for which objects."""

    sender: str
    transaction_uid: str
    called: str
    asked: tuple[Reference, ...] = field(repr=False)
    asked_at: datetime
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored object: its class and where its bytes lie."""

    sop_class_uid: str
    blob_uri: str


# ask-commitment: the same transaction asked again is reported again.
ASK = text(
    "INSERT INTO commitments AS c (sender, transaction_uid, called, asked, state, next_at, asked_at) "
    "VALUES (:sender, :transaction, :called, CAST(:asked AS jsonb), 'pending', :next_at, :asked_at) "
    "ON CONFLICT (sender, transaction_uid) DO UPDATE SET called = excluded.called, asked = excluded.asked, "
    "state = 'pending', attempts = 0, next_at = excluded.next_at, asked_at = excluded.asked_at, reported_at = NULL"
)
# claim-commitments: leased, so that another process takes them over from one that died.
CLAIM = text(
    "UPDATE commitments AS c SET next_at = :lease FROM (SELECT sender, transaction_uid FROM commitments "
    "WHERE state = 'pending' AND (next_at <= :before OR (next_at <= :now AND "
    "transaction_uid = ANY(CAST(:mine AS text[])))) ORDER BY next_at LIMIT :limit FOR UPDATE SKIP LOCKED) AS due "
    "WHERE c.sender = due.sender AND c.transaction_uid = due.transaction_uid "
    "RETURNING c.sender, c.transaction_uid, c.called, c.asked, c.asked_at, c.attempts"
)
KEPT = text(
    "SELECT DISTINCT ON (sop_instance_uid) sop_instance_uid, sop_class_uid, blob_uri FROM instances "
    "WHERE sop_instance_uid = ANY(CAST(:objects AS text[])) ORDER BY sop_instance_uid, observed_at DESC, event_id"
)
LATER = text(
    "UPDATE commitments SET next_at = :next_at, attempts = attempts + :failed, state = :state "
    "WHERE sender = :sender AND transaction_uid = :transaction AND asked_at = :asked_at AND state = 'pending'"
)
REPORTED = text(
    "UPDATE commitments SET state = 'reported', reported_at = :now, keep_until = :keep_until, "
    "failed = CAST(:failed AS jsonb) "
    "WHERE sender = :sender AND transaction_uid = :transaction AND asked_at = :asked_at"
)


async def ask(connection: AsyncConnection, asked: Commitment, first_try: datetime) -> None:
    """Writes a request; it is pending once this is committed."""
    values = {**_key(asked), "called": asked.called, "asked": json.dumps(asked.asked), "next_at": first_try}
    await connection.execute(ASK, values)


async def claim(
    connection: AsyncConnection, now: datetime, *, others: timedelta, lease: timedelta, mine: Sequence[str], limit: int
) -> list[Commitment]:
    """Requests whose time has come, leased: `mine` at once, those that another process took after `others` more."""
    values = {"now": now, "before": now - others, "lease": now + lease, "mine": list(mine), "limit": limit}
    return [
        Commitment(
            row.sender,
            row.transaction_uid,
            row.called,
            tuple((str(each[0]), str(each[1])) for each in _loaded(row.asked)),
            row.asked_at,
            row.attempts,
        )
        for row in await connection.execute(CLAIM, values)
    ]


async def kept(connection: AsyncConnection, asked: Commitment) -> dict[str, Kept]:
    """What is stored of the objects that were asked for, by instance; the read is audited."""
    details: dict[str, object] = {"transaction": asked.transaction_uid, "objects": len(asked.asked)}
    line = await identities.audit(
        connection, by_whom=asked.sender or "unknown", purpose="commitment", action="instances.read", details=details
    )
    await connection.execute(identities.DECLARE, {"id": str(line)})
    rows = await connection.execute(KEPT, {"objects": [instance for _, instance in asked.asked]})
    return {row.sop_instance_uid: Kept(row.sop_class_uid, row.blob_uri) for row in rows}


async def later(
    connection: AsyncConnection, asked: Commitment, next_at: datetime, *, failed: bool, give_up: bool
) -> None:
    """Puts a request off; `failed`: its report was not taken; `give_up`: nobody tries again."""
    state = "given_up" if give_up else "pending"
    await connection.execute(LATER, {**_key(asked), "next_at": next_at, "failed": int(failed), "state": state})


async def reported(
    connection: AsyncConnection, asked: Commitment, failed: Sequence[str], now: datetime, keep_until: datetime
) -> None:
    """Notes that the report was taken: which instances it named as failed, and until when the others are kept."""
    values = {**_key(asked), "now": now, "keep_until": keep_until, "failed": json.dumps(list(failed))}
    await connection.execute(REPORTED, values)


def _key(asked: Commitment) -> dict[str, object]:
    return {"sender": asked.sender, "transaction": asked.transaction_uid, "asked_at": asked.asked_at}


def _loaded(value: object) -> list[list[str]]:
    found = json.loads(value) if isinstance(value, str) else value
    return found if isinstance(found, list) else []
