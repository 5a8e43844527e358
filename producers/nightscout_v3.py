"""Routes of Nightscout's interface v3: tokens, status, and the operations on collections, which are elsewhere."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request, Response

from adapters.database.shelf import in_ms
from adapters.wearers import Credential
from producers import documents
from producers.glucose_routes import RESPONSES
from producers.nightscout_v1 import VERSION
from producers.replies import answered, error, reply
from producers.site import Site
from producers.v3_documents import Kept
from producers.v3_entries import NAME, Entries
from producers.v3_shape import result

V3 = "Nightscout API v3"
API_VERSION = "3.0.3"
COLLECTIONS = (NAME, *documents.COLLECTIONS, "settings")

Work = Callable[[Request, Credential, str], Awaitable[Response]]


def add(app: FastAPI, site: Site) -> None:
    """Adds the routes to the application."""

    def public(path: str, work: Callable[[Request], Awaitable[Response]], summary: str) -> None:
        async def asked(request: Request) -> Response:
            return await answered("glucose", work(request), v3_error)

        app.add_api_route(path, asked, methods=["GET"], summary=summary, responses=RESPONSES, name=path)

    async def request_token(request: Request) -> Response:
        wearer = await site.access.named(request.path_params["token"], request, "Nightscout API v2")
        token, claims = site.access.bearers.make(wearer.credential_id, site.clock.time())
        groups = [["api:*:create", "api:*:read", "api:*:update", "api:*:delete"]]
        found = {"token": token, "sub": "wearer", "permissionGroups": groups, "iat": claims.iat, "exp": claims.exp}
        return reply(200, found)

    async def version(request: Request) -> Response:
        return result(_version(site))

    async def status(request: Request) -> Response:
        await site.access.wearer(request, V3)
        return result({**_version(site), "apiPermissions": dict.fromkeys(COLLECTIONS, "crud")})

    async def last_modified(request: Request) -> Response:
        wearer = await site.access.wearer(request, V3)
        await site.settled(wearer.subject_id)
        found = await site.kept(site.shelf.last_modified(wearer.subject_id))
        changed = {name: found[name] for name in COLLECTIONS if name in found}
        return result({"srvDate": in_ms(site.clock.now()), "collections": changed})

    public("/api/v2/authorization/request/{token}", request_token, "Exchanges a credential for a token")
    public("/api/v3/version", version, "Interface v3: version")
    public("/api/v3/status", status, "Interface v3: version and permissions")
    public("/api/v3/lastModified", last_modified, "Interface v3: when each collection changed")
    _collections(app, site)


def v3_error(status: int, reason: str) -> dict[str, Any]:
    """How interface v3 says what is wrong."""
    return {"status": status, "message": reason}


def _version(site: Site) -> dict[str, Any]:
    storage = {"storage": "postgresql", "version": "16"}
    return {"version": VERSION, "apiVersion": API_VERSION, "srvDate": in_ms(site.clock.now()), "storage": storage}


def _collections(app: FastAPI, site: Site) -> None:
    reading, kept = Entries(site), Kept(site)

    def route(method: str, path: str, name: str, summary: str) -> None:
        async def asked(request: Request) -> Response:
            return await answered("glucose", work(request), v3_error)

        async def work(request: Request) -> Response:
            collection = request.path_params["collection"]
            if collection not in COLLECTIONS:
                return error(404, "no such collection", v3_error)
            wearer = await site.access.wearer(request, V3)
            operations = reading if collection == NAME else kept
            operation: Work = getattr(operations, name)
            return await operation(request, wearer, collection)

        app.add_api_route(
            path, asked, methods=[method], summary=summary, responses=RESPONSES, name=f"v3 {method} {path}"
        )

    base = "/api/v3/{collection}"
    route("GET", base, "search", "Documents that satisfy conditions")
    route("POST", base, "create", "Keeps a document")
    route("GET", base + "/history", "history", "What changed since the header Last-Modified")
    route("GET", base + "/history/{since}", "history", "What changed since a moment in milliseconds")
    route("GET", base + "/{identifier}", "read", "One document")
    route("PUT", base + "/{identifier}", "update", "Replaces a document")
    route("PATCH", base + "/{identifier}", "patch", "Changes fields of a document")
    route("DELETE", base + "/{identifier}", "delete", "Deletes a document")
