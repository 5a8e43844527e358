"""Uploaders' credentials: how they are kept, and whom they select as a door knows it; the table is in `database`."""

import asyncio
import contextlib
import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import structlog

from adapters.clock import Clock
from schemas.errors import ClinstreamError, DatabaseUnavailable

log = structlog.get_logger(__name__)

POLL_S = 3.0
LOOK_AGAIN_S = 1.0
MIN_SECRET = 12
"""Characters; Nightscout asks for as many."""

SHA1_HEX = re.compile(r"[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class Credential:
    """One uploader's way in. `secret_hash` is that of the secret's SHA-1 with `salt`: all that an uploader sends.

    `zone` is that of the wearer's clock (`Europe/Berlin`), empty where nobody said it.
    """

    credential_id: UUID
    subject_id: str
    label: str
    salt: bytes
    secret_hash: bytes
    created_at: datetime
    revoked_at: datetime | None = None
    zone: str = ""

    def opens(self, sha1: str) -> bool:
        """Whether this is the credential with that SHA-1 (hexadecimal)."""
        return hmac.compare_digest(self.secret_hash, salted(self.salt, sha1))


class Credentials(Protocol):
    """Where credentials are kept; `Database` is one."""

    async def credentials(self) -> list[Credential]:
        """All that are not revoked; raises DatabaseUnavailable."""
        ...


def new_secret() -> str:
    """A secret of 144 random bits, so that one fast hash is as good as a slow one."""
    return secrets.token_urlsafe(18)


def digest(presented: str) -> str | None:
    """The SHA-1 of what an uploader presents: the secret itself or already its SHA-1; None when it is too short."""
    text = presented.strip()
    if SHA1_HEX.fullmatch(text):
        return text.lower()
    if len(text) < MIN_SECRET:
        return None
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def salted(salt: bytes, sha1: str) -> bytes:
    """What is stored of a credential."""
    return hashlib.sha256(salt + sha1.encode()).digest()


class WearerBook:
    """The credentials, a few seconds old while PostgreSQL answers, and the last known ones while it does not."""

    def __init__(self, database: Credentials, clock: Clock, *, poll_s: float = POLL_S) -> None:
        self._database = database
        self._clock = clock
        self._poll_s = poll_s
        self._known: Sequence[Credential] = ()
        self._by_sha1: dict[str, Credential] = {}
        self._by_id: dict[UUID, Credential] = {}
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._read_begun = float("-inf")
        self._read_at: float | None = None
        self._poller: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Goes on reading until `stop`; a database that is away keeps nobody waiting."""
        self._poller = asyncio.create_task(self._poll(), name="wearer-book")

    async def stop(self) -> None:
        """Ends the reading; what is known stays."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
            self._poller = None

    async def refresh(self) -> None:
        """Reads all credentials; raises DatabaseUnavailable and then changes nothing."""
        begun = self._clock.monotonic()
        try:
            known = await self._database.credentials()
        finally:
            self._looked_at = begun
        self._read_begun = begun
        if known != self._known:
            self._known = known
            self._by_id = {each.credential_id: each for each in known}
            self._by_sha1.clear()
        self._read_at = self._clock.monotonic()

    def age_s(self) -> float | None:
        """Seconds since the credentials were last read; None before the first time."""
        return None if self._read_at is None else self._clock.monotonic() - self._read_at

    async def find(self, presented: str) -> Credential | None:
        """Whom a credential selects. One that is not known waits for a look into the database, one a second for all.

        Raises DatabaseUnavailable for one that is not known when that look fails: it may have been added since.
        """
        sha1 = digest(presented)
        if sha1 is None:
            return None
        found = self._find(sha1)
        if found is None:
            looked = await self._look_again()
            found = self._find(sha1)
            if found is None and not looked:
                raise DatabaseUnavailable("the uploaders' credentials cannot be read")
        return found

    def by_id(self, credential_id: UUID) -> Credential | None:
        """A credential that a token names, as last read; None when it is not there or was revoked."""
        return self._by_id.get(credential_id)

    async def _look_again(self) -> bool:
        """Whether a read succeeded that began when the caller was here already: what was just added is in it."""
        arrived = self._clock.monotonic()
        async with self._looking:
            if self._looked_at <= arrived:
                await self._clock.sleep(self._looked_at + LOOK_AGAIN_S - self._clock.monotonic())
            if self._looked_at <= arrived:
                with contextlib.suppress(ClinstreamError):
                    await self.refresh()
                    return True
        return self._read_begun > arrived

    def _find(self, sha1: str) -> Credential | None:
        found = self._by_sha1.get(sha1)
        if found is None:
            found = next((each for each in self._known if each.opens(sha1)), None)
            if found is not None:
                self._by_sha1[sha1] = found
        return found

    async def _poll(self) -> None:
        while True:
            try:
                await self.refresh()
            except ClinstreamError as error:
                log.warning("wearers.not_read", reason=str(error), known=len(self._known))
            await self._clock.sleep(self._poll_s)
