"""Tokens that a credential is exchanged for (JSON Web Tokens, HS256): made and checked; they hold no secret."""

import base64
import hashlib
import hmac
from uuid import UUID

import msgspec

LIFE_S = 8 * 3600
HEADER = {"alg": "HS256", "typ": "JWT"}


class Claims(msgspec.Struct, frozen=True):
    """What a token says: which credential (`sub`), since when (`iat`) and until when (`exp`), seconds since 1970."""

    sub: str
    iat: int
    exp: int


class Bearers:
    """Makes and reads tokens with a key of its own, derived from the installation's."""

    def __init__(self, key: bytes) -> None:
        self._key = hmac.new(key, b"bearer tokens", hashlib.sha256).digest()

    def make(self, credential: UUID, now: float) -> tuple[str, Claims]:
        """A token for a credential."""
        claims = Claims(str(credential), int(now), int(now) + LIFE_S)
        signed = f"{_encoded(msgspec.json.encode(HEADER))}.{_encoded(msgspec.json.encode(claims))}"
        return f"{signed}.{_encoded(self._signature(signed))}", claims

    def read(self, token: str, now: float) -> UUID | None:
        """The credential of a token of ours that is still valid, else None."""
        signed, _, signature = token.rpartition(".")
        header, _, body = signed.partition(".")
        try:
            if not hmac.compare_digest(_decoded(signature), self._signature(signed)):
                return None
            if msgspec.json.decode(_decoded(header)) != HEADER:
                return None
            claims = msgspec.json.decode(_decoded(body), type=Claims)
            return UUID(claims.sub) if claims.iat <= now + 60 and now < claims.exp else None
        except (ValueError, msgspec.MsgspecError):
            return None

    def _signature(self, signed: str) -> bytes:
        return hmac.new(self._key, signed.encode(), hashlib.sha256).digest()


def looks_like(text: str) -> bool:
    """Whether this is written as a token; secrets of ours hold no dot."""
    return text.count(".") == 2


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
