"""Whom the credential of a request selects, however it comes, and how often it may ask; no route is here."""

import base64
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from adapters.clock import Clock
from adapters.wearers import MIN_SECRET, Credential, WearerBook
from producers.bearer import Bearers, looks_like
from producers.client_limits import ClientLimits
from producers.guesses import Guesses
from producers.replies import Early
from schemas.errors import DatabaseUnavailable

NOTHING = (
    "no credential came with the request: send it as header api-secret (itself or its SHA-1), as ?token=, as user name "
    "of the address, or as Authorization: Bearer"
)
UNKNOWN = "no wearer has this credential; `clinstream wearers add` makes one"
SHORT = f"the credential is shorter than {MIN_SECRET} characters"
EXPIRED = "the token is not ours or has expired: ask /api/v2/authorization/request/ for another"


@dataclass(frozen=True, slots=True)
class Access:
    """Lets a wearer's clients in; a failure is answered late, so that guessing takes long."""

    wearers: WearerBook
    guesses: Guesses
    limits: ClientLimits
    bearers: Bearers
    clock: Clock

    async def wearer(self, request: Request, api: str) -> Credential:
        """The credential of a request to the interface called `api`; ends the request with 401, 429 or 503."""
        return await self.named(presented(request), request, api)

    async def named(self, secret: str, request: Request, api: str) -> Credential:
        """As `wearer`, for a credential that came in the body or the path."""
        found = self._by_token(secret) if looks_like(secret) else await self._by_secret(secret)
        if found is None:
            address = request.client.host if request.client else ""
            if not await self.guesses.slow(address):
                raise Early(429, f"{api}: too many failed attempts from this address")
            raise Early(401, f"{api}: {_why(secret)}")
        wait = self.limits.wait_s(found.credential_id)
        if wait:
            raise Early(429, f"{api}: this client asks too often", wait)
        return found

    def _by_token(self, token: str) -> Credential | None:
        credential = self.bearers.read(token, self.clock.time())
        return self.wearers.by_id(credential) if credential else None

    async def _by_secret(self, secret: str) -> Credential | None:
        try:
            return await self.wearers.find(secret)
        except DatabaseUnavailable as away:
            raise Early(503, str(away)) from away


def presented(request: Request) -> str:
    """The credential as it came: header before user-info before query."""
    scheme, _, value = request.headers.get("authorization", "").strip().partition(" ")
    kinds: dict[str, Callable[[str], str]] = {"bearer": str.strip, "basic": _basic}
    given = kinds[scheme.lower()](value) if scheme.lower() in kinds else ""
    asked = request.query_params
    return request.headers.get("api-secret") or given or asked.get("token") or asked.get("secret") or ""


def _basic(value: str) -> str:
    """The user name of `http://SECRET@host/`, or the password where only that is there."""
    try:
        name, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except ValueError:
        return ""
    return password if len(name) < MIN_SECRET <= len(password) else name


def _why(secret: str) -> str:
    if not secret:
        return NOTHING
    if looks_like(secret):
        return EXPIRED
    return SHORT if len(secret.strip()) < MIN_SECRET else UNKNOWN
