"""Routes of Nightscout's interface v1 beside the upload of entries: reads, documents, status, checks of credentials."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from fastapi import FastAPI, Request, Response

from adapters.database.shelf import Uploaded, in_ms
from producers import cgm, documents, finding, uploaded
from producers.finding import Condition
from producers.glucose_routes import RESPONSES, V1, objects, v1_error
from producers.replies import Early, answered, body, reply
from producers.site import Site
from schemas.errors import RejectedInput

COUNT, MOST = 10, 10_000
DOCUMENTS, MOST_DOCUMENTS = 100, 2_000
MAX_DOCUMENTS = 1_000
ENTRY_TIMES = frozenset(("date", "dateString", "sysTime", "mills"))
DOCUMENT_TIMES = frozenset(documents.TIMES)
MARGIN = timedelta(days=1)
VERSION = "15.0.0"
"""Of the server whose interface this is: apps compare it."""


def add(app: FastAPI, site: Site) -> None:
    """Adds the routes to the application."""

    def route(method: str, path: str, work: Callable[..., Awaitable[Response]], summary: str) -> None:
        async def asked(request: Request) -> Response:
            return await answered("glucose", work(request), v1_error)

        for number, end in enumerate(("", ".json")):
            app.add_api_route(
                path + end,
                asked,
                methods=[method],
                summary=summary,
                responses=RESPONSES,
                include_in_schema=not number,
                name=f"{method} {path}{end}",
            )

    async def status(request: Request) -> Response:
        return reply(200, status_of(site))

    async def versions(request: Request) -> Response:
        found = [{"version": "1.0.0", "url": "/api/v1"}, {"version": "3.0.3", "url": "/api/v3"}]
        return reply(200, found)

    async def verify(request: Request) -> Response:
        return await _verify(request, site)

    async def test(request: Request) -> Response:
        await site.access.wearer(request, V1)
        return reply(200, {"status": "ok"})

    route("GET", "/api/v1/status", status, "What uploaders ask before they send")
    route("GET", "/api/versions", versions, "Interfaces")
    route("GET", "/api/v1/verifyauth", verify, "Whether a credential is good")
    route("GET", "/api/v1/experiments/test", test, "Whether a credential is good")
    _entries(route, site)
    for collection in documents.COLLECTIONS:
        _documents(route, site, collection)


def status_of(site: Site) -> dict[str, Any]:
    """What an app may know of this server before it says who it is."""
    now = site.clock.now()
    return {
        "status": "ok",
        "name": "clinstream",
        "version": VERSION,
        "serverTime": uploaded.iso(now),
        "serverTimeEpoch": in_ms(now),
        "apiEnabled": True,
        "careportalEnabled": True,
        "boluscalcEnabled": False,
        "settings": {"units": "mg/dl", "timeFormat": 24, "enable": ["careportal"], "authDefaultRoles": "denied"},
        "extendedSettings": {},
    }


async def _verify(request: Request, site: Site) -> Response:
    """Always 200, as apps expect; a bad credential is told as late as everywhere."""
    try:
        await site.access.wearer(request, V1)
        good, message = True, "OK"
    except Early as early:
        if early.status != 401:
            raise
        good, message = False, "UNAUTHORIZED"
    known = {
        "canRead": good,
        "canWrite": good,
        "isAdmin": False,
        "message": message,
        "rolefound": "FOUND" if good else "NOTFOUND",
        "permissions": "ROLE" if good else "DEFAULT",
    }
    return reply(200, {"status": 200, "message": known})


Route = Callable[[str, str, Callable[..., Awaitable[Response]], str], None]


def _entries(route: Route, site: Site) -> None:
    async def listed(request: Request) -> Response:
        wearer = await site.access.wearer(request, V1)
        conditions = finding.v1(request.query_params.multi_items())
        rows = await readings(site, wearer.subject_id, conditions, _count(request, COUNT, MOST))
        return reply(200, [uploaded.entry(row) for row in rows])

    async def current(request: Request) -> Response:
        wearer = await site.access.wearer(request, V1)
        return reply(200, [uploaded.entry(row) for row in await readings(site, wearer.subject_id, [], 1)])

    async def one(request: Request) -> Response:
        """Entries of a kind, of which only `sgv` is kept, or the one with this id."""
        kind = request.path_params["spec"].removesuffix(".json")
        if kind == "sgv":
            return await listed(request)
        wearer = await site.access.wearer(request, V1)
        found = None if kind in ("mbg", "cal") else await _by_id(site, wearer.subject_id, kind)
        return reply(200, [uploaded.entry(found)] if found else [])

    async def delete(request: Request) -> Response:
        wearer = await site.access.wearer(request, V1)
        found = await _by_id(site, wearer.subject_id, request.path_params["spec"].removesuffix(".json"))
        if found is not None:
            await site.put(
                wearer.subject_id, [cgm.taken_back(found, wearer.subject_id, site.clock.now(), "nightscout")]
            )
        return reply(200, {"n": int(found is not None), "ok": 1})

    route("GET", "/api/v1/entries", listed, "Readings as they were uploaded, the newest first")
    route("GET", "/api/v1/entries/current", current, "The newest reading")
    route("GET", "/api/v1/entries/{spec}", one, "Readings of a kind, or one by its id")
    route("DELETE", "/api/v1/entries/{spec}", delete, "Takes a reading back")


async def readings(site: Site, subject: str, conditions: Sequence[Condition], most: int) -> list[Uploaded]:
    """Readings of a wearer that satisfy all conditions, the newest first."""
    await site.settled(subject)
    since, until = finding.span(conditions, ENTRY_TIMES)
    limit = most if not conditions else MOST
    rows = await site.kept(site.shelf.readings(subject, since=since, until=until, limit=limit))
    kept = (row for row in rows if all(each.holds(uploaded.entry(row)) for each in conditions))
    return [row for row, _ in zip(kept, range(most), strict=False)]


async def _by_id(site: Site, subject: str, name: str) -> Uploaded | None:
    """The reading in force that has this id; ids of earlier contents are forgotten."""
    await site.settled(subject)
    try:
        wanted = UUID(name)
    except ValueError:
        time_ms = uploaded.time_of(name)
        rows = [] if time_ms is None else await site.kept(site.shelf.contents_at(subject, [time_ms]))
        return rows[-1] if rows and not rows[-1].deleted else None
    rows = await site.kept(site.shelf.readings(subject, limit=MOST))
    return next((row for row in rows if row.event_id == wanted), None)


def _documents(route: Route, site: Site, collection: str) -> None:
    path = f"/api/v1/{collection}"

    async def listed(request: Request) -> Response:
        wearer = await site.access.wearer(request, V1)
        conditions = finding.v1(request.query_params.multi_items())
        most = _count(request, COUNT if collection == "devicestatus" else DOCUMENTS, MOST_DOCUMENTS)
        since, until = finding.span(conditions, DOCUMENT_TIMES, MARGIN)
        limit = most if not conditions else MOST_DOCUMENTS
        rows = await site.kept(
            site.shelf.documents(wearer.subject_id, collection, since=since, until=until, limit=limit)
        )
        found = (documents.v1(row) for row in rows)
        kept = (row for row in found if all(each.holds(row) for each in conditions))
        return reply(200, [row for row, _ in zip(kept, range(most), strict=False)])

    async def one(request: Request) -> Response:
        wearer = await site.access.wearer(request, V1)
        name = request.path_params["name"].removesuffix(".json")
        if name == "current" and collection == "profile":
            rows = await site.kept(site.shelf.documents(wearer.subject_id, collection, limit=1))
            return reply(200, documents.v1(rows[0]) if rows else {})
        row = await site.kept(site.shelf.document(wearer.subject_id, collection, name))
        return reply(200, [documents.v1(row)] if row and not row.deleted else [])

    async def post(request: Request) -> Response:
        wearer = await site.access.wearer(request, V1)
        items = objects(await body(request))
        return reply(200, await _put(site, wearer.subject_id, collection, items))

    async def put(request: Request) -> Response:
        wearer = await site.access.wearer(request, V1)
        items = objects(await body(request))
        found = await _put(site, wearer.subject_id, collection, items)
        return reply(200, found[0] if len(found) == 1 else found)

    async def delete(request: Request) -> Response:
        wearer = await site.access.wearer(request, V1)
        name = request.path_params["name"].removesuffix(".json")
        gone = await site.kept(site.shelf.change(wearer.subject_id, collection, name, {}, deleted=True))
        return reply(200, {"n": int(gone is not None), "ok": 1})

    route("GET", path, listed, f"Documents of {collection} as they were sent")
    route("POST", path, post, f"Keeps documents of {collection}")
    route("PUT", path, put, f"Keeps or replaces documents of {collection}")
    route("GET", path + "/{name}", one, f"One document of {collection}")
    route("DELETE", path + "/{name}", delete, f"Deletes a document of {collection}")


async def _put(site: Site, subject: str, collection: str, items: Sequence[Any]) -> list[dict[str, Any]]:
    if len(items) > MAX_DOCUMENTS:
        raise Early(413, f"a post carries at most {MAX_DOCUMENTS:,} documents")
    now = site.clock.now()
    try:
        new = [documents.new(item, now) for item in items]
    except RejectedInput as refused:
        raise Early(400, str(refused)) from refused
    await site.kept(site.shelf.put(subject, collection, new))
    return [{**each.body, "_id": each.body.get("_id", each.identifier)} for each in new]


def _count(request: Request, default: int, most: int) -> int:
    text = request.query_params.get("count", "")
    if text == "all":
        return most
    return min(int(text), most) if text.isdecimal() and 0 < len(text) < 10 and int(text) else min(default, most)
