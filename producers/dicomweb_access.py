"""Who may use the DICOMweb routes: whoever has the token, and without one only callers on this machine."""

import hmac
from dataclasses import dataclass, field
from ipaddress import ip_address

from fastapi import Request

from producers.replies import Early


@dataclass(frozen=True, slots=True)
class Access:
    """`token` is what callers must send as `Authorization: Bearer`; empty: none is asked for, on loopback alone."""

    token: str = field(default="", repr=False)
    retrieval: bool = True

    def require(self, request: Request) -> None:
        """Ends the request with 401 or 403 where the caller may not."""
        if self.token:
            scheme, _, given = request.headers.get("authorization", "").partition(" ")
            if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token.encode()):
                raise Early(401, "send Authorization: Bearer with the token of this door")
            return
        # The Host as well: a page that a browser shows may not read here, and behind a proxy everybody looks local.
        if not _is_local(request.client.host if request.client else "") or not _is_local(request.url.hostname or ""):
            raise Early(403, "set CLINSTREAM_DOOR_DICOMWEB_TOKEN to open DICOMweb to other machines")

    def require_retrieval(self, request: Request) -> None:
        """The same for searches and retrievals, which can be closed."""
        if not self.retrieval:
            raise Early(404, "searches and retrievals are closed here")
        self.require(request)


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
