"""The table of uploaders' credentials: added, listed, revoked, each audited; how a secret is hashed is elsewhere."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import identities
from adapters.wearers import Credential

COLUMNS = "credential_id, subject_id, label, salt, secret_hash, created_at, revoked_at, zone"

# wearers-add
INSERT = text(
    f"INSERT INTO wearers ({COLUMNS}) "
    "VALUES (:credential_id, :subject_id, :label, :salt, :secret_hash, :created_at, NULL, :zone)"
)

# wearers-list, wearers-live: oldest first.
ALL = text(f"SELECT {COLUMNS} FROM wearers ORDER BY created_at, credential_id")
LIVE = text(f"SELECT {COLUMNS} FROM wearers WHERE revoked_at IS NULL ORDER BY created_at, credential_id")

# wearers-revoke: of a credential that is revoked already the first time stays.
REVOKE = text(
    "UPDATE wearers SET revoked_at = :now WHERE revoked_at IS NULL AND credential_id = ANY(CAST(:ids AS uuid[])) "
    "RETURNING credential_id"
)

# wearers-zone: of all credentials of a wearer, so that the newest of them says it whichever is revoked.
ZONE = text("UPDATE wearers SET zone = :zone WHERE subject_id = :subject RETURNING credential_id")


async def add(connection: AsyncConnection, credential: Credential, *, by_whom: str) -> None:
    """Stores a new credential."""
    await connection.execute(
        INSERT,
        {
            "credential_id": credential.credential_id,
            "subject_id": credential.subject_id,
            "label": credential.label,
            "salt": credential.salt,
            "secret_hash": credential.secret_hash,
            "created_at": credential.created_at,
            "zone": credential.zone,
        },
    )
    await _audit(connection, "wearers.add", [credential.credential_id], by_whom)


async def every(connection: AsyncConnection, *, revoked: bool) -> list[Credential]:
    """All credentials, oldest first; with `revoked` also those that open nothing any more."""
    return [Credential(*row) for row in await connection.execute(ALL if revoked else LIVE)]


async def revoke(connection: AsyncConnection, ids: Sequence[UUID], *, by_whom: str, now: datetime) -> list[UUID]:
    """Revokes these credentials; those that were not revoked before."""
    done = [row[0] for row in await connection.execute(REVOKE, {"ids": list(ids), "now": now})]
    if done:
        await _audit(connection, "wearers.revoke", done, by_whom)
    return done


async def set_zone(connection: AsyncConnection, subject: str, zone: str, *, by_whom: str) -> int:
    """Notes the zone of a wearer's clock with all credentials of the wearer; how many there are."""
    done = [row[0] for row in await connection.execute(ZONE, {"subject": subject, "zone": zone})]
    if done:
        await _audit(connection, "wearers.zone", done, by_whom)
    return len(done)


async def _audit(connection: AsyncConnection, action: str, ids: Sequence[UUID], by_whom: str) -> None:
    details: dict[str, object] = {"credentials": [str(each) for each in ids]}
    await identities.audit(connection, by_whom=by_whom, purpose="uploaders", action=action, details=details)
