"""Messages decided in a transaction and not yet sent; sending them is the relay's part."""

import base64
import json
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.records import OutboxRow

# unsent: by `sent_at IS NULL` and never by a last id, since ids commit out of order.
UNSENT = text(
    "SELECT id, topic, key, headers, value FROM outbox WHERE sent_at IS NULL "
    "ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED"
)

# mark-sent: after the broker's acknowledgement.
MARK_SENT = text("UPDATE outbox SET sent_at = :now WHERE id = ANY(CAST(:ids AS bigint[])) AND sent_at IS NULL")

# enqueue: one message, in the transaction that decides it.
ENQUEUE = text(
    "INSERT INTO outbox (topic, key, headers, value) "
    "VALUES (:topic, :key, CAST(:headers AS jsonb), :value) RETURNING id"
)


async def unsent(connection: AsyncConnection, limit: int) -> list[OutboxRow]:
    """The oldest messages that were not sent, locked until the transaction ends; others' locked ones are left out."""
    rows = await connection.execute(UNSENT, {"limit": limit})
    return [OutboxRow(row.id, row.topic, row.key, _headers(row.headers), row.value) for row in rows]


async def mark_sent(connection: AsyncConnection, ids: Sequence[int], now: datetime) -> None:
    """Notes that the broker has acknowledged these messages."""
    await connection.execute(MARK_SENT, {"ids": list(ids), "now": now})


async def enqueue(
    connection: AsyncConnection, topic: str, key: bytes | None, headers: Sequence[tuple[str, bytes]], value: bytes
) -> int:
    """Adds a message and returns its id."""
    stored = json.dumps([[name, base64.b64encode(content).decode()] for name, content in headers])
    values = {"topic": topic, "key": key, "headers": stored, "value": value}
    return int((await connection.execute(ENQUEUE, values)).scalar_one())


def _headers(stored: list[list[str]]) -> list[tuple[str, bytes]]:
    return [(name, base64.b64decode(content)) for name, content in stored]
