"""Trained versions beside those that cards bring, and orders to move them; which move is allowed is not known here."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database.records import Order, Version

COLUMNS = (
    "task, version, request_id, weights_uri, weights_sha256, operating_point, abstention_band, preprocessing_version, "
    "figures, registry_uri, approved_by, approved_at, registered_at"
)

# insert-version: what is registered is never changed.
INSERT = text(
    f"INSERT INTO versions ({COLUMNS}) VALUES (:task, :version, :request_id, :weights_uri, :weights_sha256, "
    "CAST(:operating_point AS jsonb), CAST(:abstention_band AS jsonb), :preprocessing_version, "
    "CAST(:figures AS jsonb), :registry_uri, :approved_by, :approved_at, :registered_at) "
    "ON CONFLICT (task, version) DO NOTHING RETURNING version"
)
EVERY = text(f"SELECT {COLUMNS} FROM versions ORDER BY task, registered_at, version")

# approve-version: the first approval stays.
APPROVE = text(
    "UPDATE versions SET approved_by = :by_whom, approved_at = :now "
    "WHERE task = :task AND version = :version AND approved_at IS NULL"
)

ORDER_COLUMNS = "id, task, version, event, share, by_whom, why, ordered_at, done_at, refused"
ADD_ORDER = text(
    "INSERT INTO release_orders (task, version, event, share, by_whom, why, ordered_at) "
    f"VALUES (:task, :version, :event, :share, :by_whom, :why, :now) RETURNING {ORDER_COLUMNS}"
)
OPEN_ORDERS = text(f"SELECT {ORDER_COLUMNS} FROM release_orders WHERE done_at IS NULL ORDER BY id")
ORDER = text(f"SELECT {ORDER_COLUMNS} FROM release_orders WHERE id = :id")
END_ORDER = text("UPDATE release_orders SET done_at = :now, refused = :refused WHERE id = :id AND done_at IS NULL")


async def add(connection: AsyncConnection, version: Version) -> bool:
    """Stores a version; False when it is there already, which then stays as it is."""
    values = {
        "task": version.task,
        "version": version.version,
        "request_id": version.request_id,
        "weights_uri": version.weights_uri,
        "weights_sha256": version.weights_sha256,
        "operating_point": json.dumps(version.operating_point) if version.operating_point else None,
        "abstention_band": json.dumps(list(version.abstention_band)),
        "preprocessing_version": version.preprocessing_version,
        "figures": json.dumps(version.figures),
        "registry_uri": version.registry_uri,
        "approved_by": version.approved_by,
        "approved_at": version.approved_at,
        "registered_at": version.registered_at,
    }
    return (await connection.execute(INSERT, values)).first() is not None


async def every(connection: AsyncConnection) -> list[Version]:
    """All versions, a task's in the order of their registration."""
    return [_version(row) for row in await connection.execute(EVERY)]


async def approve(connection: AsyncConnection, task: str, version: str, by_whom: str, now: datetime) -> bool:
    """Notes who approved a version; False when it is unknown or approved already."""
    values = {"task": task, "version": version, "by_whom": by_whom, "now": now}
    return bool((await connection.execute(APPROVE, values)).rowcount)


async def order(connection: AsyncConnection, wanted: Order, now: datetime) -> Order:
    """Files an order and returns it with its number."""
    values = {
        "task": wanted.task,
        "version": wanted.version,
        "event": wanted.event,
        "share": wanted.share,
        "by_whom": wanted.by_whom,
        "why": wanted.why,
        "now": now,
    }
    return _order((await connection.execute(ADD_ORDER, values)).one())


async def open_orders(connection: AsyncConnection) -> list[Order]:
    """The orders that wait, in the order of their filing."""
    return [_order(row) for row in await connection.execute(OPEN_ORDERS)]


async def order_by_id(connection: AsyncConnection, number: int) -> Order | None:
    """One order."""
    row = (await connection.execute(ORDER, {"id": number})).first()
    return _order(row) if row is not None else None


async def end_order(connection: AsyncConnection, number: int, refused: str, now: datetime) -> None:
    """Marks an order as done, or as refused for a reason."""
    await connection.execute(END_ORDER, {"id": number, "refused": refused, "now": now})


def _version(row: Row[Any]) -> Version:
    band: Sequence[float] = row.abstention_band
    return Version(
        task=row.task,
        version=row.version,
        request_id=row.request_id,
        weights_uri=row.weights_uri,
        weights_sha256=row.weights_sha256,
        operating_point=row.operating_point,
        abstention_band=(float(band[0]), float(band[1])),
        preprocessing_version=row.preprocessing_version,
        figures=row.figures,
        registry_uri=row.registry_uri,
        approved_by=row.approved_by,
        approved_at=row.approved_at,
        registered_at=row.registered_at,
    )


def _order(row: Row[Any]) -> Order:
    return Order(
        task=row.task,
        version=row.version,
        event=row.event,
        share=row.share,
        by_whom=row.by_whom,
        why=row.why,
        id=row.id,
        done_at=row.done_at,
        refused=row.refused,
    )
