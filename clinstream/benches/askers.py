"""Askers of the HTTP doors for the time of a bench: each a made-up wearer with a credential and a connection."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from uuid import uuid4

from adapters import wearers
from adapters.wearers import Credential
from clinstream.benches.asker import Asker
from clinstream.benches.plant import Plant


@asynccontextmanager
async def connected(plant: Plant, subjects: Sequence[str], host: str, port: int, by: str) -> AsyncIterator[list[Asker]]:
    """One asker a wearer; `by` makes and afterwards revokes the credentials.

    Each has a connection: a shared pool's own work took more of the cores than the answers did.
    """
    database, made = plant.services.database, []
    try:
        async with AsyncExitStack() as opened:
            found = []
            for subject in subjects:
                secret, salt = wearers.new_secret(), os.urandom(16)
                hashed = wearers.salted(salt, wearers.digest(secret) or "")
                credential = Credential(uuid4(), subject, "bench", salt, hashed, datetime.now(UTC))
                await database.add_credential(credential, by_whom=by)
                made.append(credential.credential_id)
                found.append(await opened.enter_async_context(Asker(host, port, {"api-secret": secret})))
            yield found
    finally:
        await database.revoke_credentials(made, by_whom=by)
