"""Routes of the FHIR interface: submissions of the HL7 CGM guide, readings as Observations, what the server can."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import msgspec
from fastapi import FastAPI, Request, Response

from adapters.database.shelf import EPOCH
from producers import fhir_bundle, fhir_reading, finding, uploaded
from producers.fhir_capability import capability
from producers.fhir_reading import CODE_OF, OF_CODE
from producers.glucose_routes import RESPONSES, decoded
from producers.replies import JSON, Early, answered, body, media_type
from producers.site import MAX_READINGS, Site

FHIR = "FHIR"
FHIR_JSON = "application/fhir+json"
COUNT, MOST = 100, 1_000
ISSUES = {401: "login", 404: "not-found", 410: "deleted", 413: "too-costly", 429: "throttled", 503: "transient"}
PREFIXES = {"eq": "eq", "ge": "gte", "gt": "gt", "le": "lte", "lt": "lt"}
SEARCHED = frozenset(("code", "date", "patient", "subject", "category", "_count", "_sort", "_format", "token"))


def add(app: FastAPI, site: Site) -> None:
    """Adds the routes to the application."""

    def route(method: str, path: str, work: Callable[[Request], Awaitable[Response]], summary: str) -> None:
        async def asked(request: Request) -> Response:
            answer = await answered("glucose", work(request), fhir_error)
            answer.headers["content-type"] = FHIR_JSON
            return answer

        app.add_api_route(path, asked, methods=[method], summary=summary, responses=RESPONSES, name=f"{method} {path}")

    async def metadata(_: Request) -> Response:
        return _reply(capability(site.clock.now()))

    async def submit(request: Request) -> Response:
        return await _submit(request, site)

    async def search(request: Request) -> Response:
        return await _search(request, site)

    async def read(request: Request) -> Response:
        return await _read(request, site)

    route("GET", "/fhir/metadata", metadata, "FHIR: what the server can")
    route("POST", "/fhir/$submit-cgm-bundle", submit, "FHIR: a submission of the HL7 CGM guide")
    for kind in fhir_bundle.TYPES:
        route("GET", f"/fhir/{kind}", search, f"FHIR: the wearer's {kind} resources")
        route("GET", f"/fhir/{kind}/{{name}}", read, f"FHIR: one {kind}")


def fhir_error(status: int, reason: str) -> dict[str, Any]:
    """How FHIR says what is wrong."""
    return fhir_bundle.outcome(reason, ISSUES.get(status, "invalid"))


async def _submit(request: Request, site: Site) -> Response:
    wearer = await site.access.wearer(request, FHIR)
    if media_type(request) not in (FHIR_JSON, JSON):
        raise Early(415, f"send {FHIR_JSON}")
    bundle = decoded(await body(request))
    if not isinstance(bundle, dict) or bundle.get("resourceType") != "Bundle":
        raise Early(400, "the body is no Bundle")
    if bundle.get("type") not in fhir_bundle.RESPONSES:
        raise Early(400, "Bundle.type is neither transaction nor batch")
    entries = bundle.get("entry", [])
    if not isinstance(entries, list) or len(entries) > MAX_READINGS:
        raise Early(413, f"a bundle has at most {MAX_READINGS:,} entries")
    return _reply(await fhir_bundle.submit(site, wearer.subject_id, bundle))


async def _search(request: Request, site: Site) -> Response:
    wearer = await site.access.wearer(request, FHIR)
    kind = request.url.path.rsplit("/", 1)[-1]
    asked = request.query_params
    if set(asked.keys()) - SEARCHED:
        raise Early(400, f"a search understands {', '.join(sorted(SEARCHED))}, and no other")
    most = _count(asked.get("_count"))
    codes = {code.rpartition("|")[2] for code in asked.get("code", "").split(",") if code}
    own = (wearer.subject_id, f"Patient/{wearer.subject_id}")
    if any(asked.get(name, own[0]) not in own for name in ("patient", "subject")):
        return _reply(_searchset(request, [], None))
    if kind == "Observation" and (not codes or codes & OF_CODE.keys()):
        return await _readings(request, site, wearer.subject_id, codes or set(OF_CODE), most)
    rows = await site.kept(site.shelf.documents(wearer.subject_id, fhir_bundle.KEPT, limit=MOST))
    found = [row.body for row in rows if row.body["resourceType"] == kind]
    kept = [each for each in found if not codes or fhir_reading.codes(each) & codes]
    return _reply(_searchset(request, kept[:most], None))


async def _readings(request: Request, site: Site, subject: str, codes: set[str], most: int) -> Response:
    await site.settled(subject)
    conditions = [_date(text) for text in request.query_params.getlist("date")]
    since, until = finding.span(conditions, frozenset(("date",)))
    rows = await site.kept(site.shelf.readings(subject, since=since, until=until, limit=most + 1))
    wanted = [row for row in rows[:most] if all(each.holds({"date": row.time_ms}) for each in conditions)]
    found = [fhir_reading.observation(row, subject) for row in wanted if CODE_OF.get(row.raw_unit) in codes]
    following = rows[most - 1].measured_at if len(rows) > most else None
    return _reply(_searchset(request, found, following))


async def _read(request: Request, site: Site) -> Response:
    wearer = await site.access.wearer(request, FHIR)
    kind, name = request.url.path.rsplit("/", 2)[-2:]
    time_ms = uploaded.time_of(name)
    if kind == "Observation" and time_ms is not None:
        rows = await site.at(wearer.subject_id, time_ms)
        if rows and rows[-1].deleted:
            raise Early(410, "the reading was taken back")
        if rows:
            return _reply(fhir_reading.observation(rows[-1], wearer.subject_id))
    row = await site.kept(site.shelf.document(wearer.subject_id, fhir_bundle.KEPT, f"{kind}/{name}"))
    if row is None or row.deleted:
        raise Early(404, f"there is no such {kind}")
    return _reply(row.body)


def _searchset(request: Request, found: list[dict[str, Any]], following: datetime | None) -> dict[str, Any]:
    base = f"{request.url.scheme}://{request.url.netloc}/fhir"
    shown = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
    here = f"{base}/{request.url.path.rsplit('/', 1)[-1]}"
    links = [{"relation": "self", "url": f"{here}?{urlencode(shown)}" if shown else here}]
    if following is not None:
        older = [*shown, ("date", f"lt{uploaded.iso(following)}")]
        links.append({"relation": "next", "url": f"{here}?{urlencode(older)}"})
    bundle: dict[str, Any] = {"resourceType": "Bundle", "type": "searchset", "link": links}
    entries = [
        {
            "fullUrl": f"{base}/{each['resourceType']}/{each['id']}",
            "resource": each,
            "search": {"mode": "match"},
        }
        for each in found
    ]
    return {**bundle, "entry": entries} if entries else bundle


def _date(text: str) -> finding.Condition:
    """A `date` of a search: prefix and time; a day alone is its midnight, in UTC."""
    operator = PREFIXES.get(text[:2])
    value = text[2:] if operator else text
    moment = finding.when(value)
    if moment is None or value.isdecimal():
        raise Early(400, "date is eq, ge, gt, le or lt and a FHIR dateTime")
    if operator is None and "T" not in value:
        raise Early(400, "search a day with date=ge and date=lt")
    return finding.Condition("date", operator or "eq", (str((moment - EPOCH) // timedelta(milliseconds=1)),))


def _count(text: str | None) -> int:
    if text is None:
        return COUNT
    if not text.isdecimal() or len(text) > 6 or not int(text):
        raise Early(400, "_count is a number above 0")
    return min(int(text), MOST)


def _reply(found: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(found), media_type=FHIR_JSON)
