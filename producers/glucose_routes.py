"""Routes that take glucose readings: entries of Nightscout uploaders, and our own with a result for each reading."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response

from adapters.kafka import Message
from producers import cgm, minutes
from producers.replies import ERROR, JSON, Early, Result, answered, body, reply, require_json
from producers.site import MAX_READINGS, Site, count
from schemas.errors import RejectedInput
from schemas.events import GlucoseObserved

ECHOED = ("type", "date", "dateString", "sgv", "direction", "device", "units", "identifier")
V1 = "Nightscout API v1"
OURS = "/v1/glucose"


def add(app: FastAPI, site: Site) -> None:
    """Adds the routes to the application."""

    async def entries(request: Request) -> Response:
        """Takes sensor values as Nightscout uploaders send them; answers an array also for one entry."""
        return await answered("glucose", _entries(request, site), v1_error)

    for path in ("/api/v1/entries", "/api/v1/entries.json"):
        app.post(path, summary="Nightscout entries", responses=RESPONSES)(entries)

    @app.post(OURS, openapi_extra={"requestBody": REQUEST_BODY}, responses=RESPONSES, summary="Glucose")
    async def glucose(request: Request) -> Response:
        """Takes one reading or an array; success means that all in-sync brokers have it."""
        return await answered("glucose", _glucose(request, site))


def v1_error(status: int, reason: str) -> dict[str, Any]:
    """How interface v1 says what is wrong."""
    message = {401: "Unauthorized", 429: "Too Many Requests", 503: "Service Unavailable"}.get(status, "Bad Request")
    return {"status": status, "message": message, "description": reason, "error": reason}


async def _entries(request: Request, site: Site) -> Response:
    wearer = await site.access.wearer(request, V1)
    items = objects(await body(request))
    now = site.clock.now()
    answers: list[dict[str, Any]] = []
    taken: list[tuple[GlucoseObserved, Message]] = []
    refused: list[tuple[Any, str]] = []
    for item in items:
        known = {name: item[name] for name in ECHOED if name in item} if isinstance(item, Mapping) else {}
        try:
            reading = cgm.entry(item)
            if isinstance(reading, cgm.NotTaken):
                answers.append(known)
                count("left")
                continue
            made = cgm.observed(reading, wearer.subject_id, now, "nightscout")
        except RejectedInput as problem:
            refused.append((item, str(problem)))
            count("refused")
            answers.append({**known, "refused": str(problem)})
            continue
        taken.append(made)
        answers.append({"_id": str(made[0].event_id), **known, "type": "sgv"})
    await site.put_with_refused(wearer.subject_id, taken, refused, now, "nightscout")
    return reply(200, answers)


async def _glucose(request: Request, site: Site) -> Response:
    wearer = await site.access.wearer(request, OURS)
    require_json(request)
    items = objects(await body(request))
    now = site.clock.now()
    readings = [_read(item) for item in items]
    there = await _minutes(site, wearer.subject_id, readings)
    results: list[Result] = []
    taken: list[tuple[GlucoseObserved, Message]] = []
    for reading in readings:
        try:
            if isinstance(reading, RejectedInput):
                raise reading
            if there and _is_cut(reading) and (known := there.told(reading.measured_at, reading.device)):
                results.append(Result(str(known.event_id), "accepted", minutes.WITH_SECONDS))
                continue
            made = cgm.observed(reading, wearer.subject_id, now, "http")
        except RejectedInput as problem:
            results.append(Result(None, "refused", str(problem)))
            count("refused")
            continue
        taken.append(made)
        results.append(Result(str(made[0].event_id), "accepted"))
    await site.put(wearer.subject_id, taken)
    return reply(200 if taken or not results else 422, {"results": results})


def _read(item: Any) -> cgm.Reading | RejectedInput:
    try:
        return cgm.plain(item)
    except RejectedInput as problem:
        return problem


def _is_cut(reading: cgm.Reading) -> bool:
    return reading.to_the_minute and not reading.simulated


async def _minutes(site: Site, subject: str, readings: Sequence[cgm.Reading | RejectedInput]) -> minutes.Minutes | None:
    """None where no reading is cut to its minute, as nearly always: nothing is asked then. Simulated ones have rows of
    their own."""
    cut = [each.measured_at for each in readings if isinstance(each, cgm.Reading) and _is_cut(each)]
    if not cut:
        return None
    await site.settled(subject)
    return await minutes.of(site, subject, cut)


def objects(data: bytes) -> list[Any]:
    """The items of a body: an array, or one object; an empty object is none."""
    found = decoded(data)
    items = found if isinstance(found, list) else [found] if found != {} else []
    if len(items) > MAX_READINGS:
        raise Early(413, f"a post carries at most {MAX_READINGS:,} readings")
    return items


def decoded(data: bytes) -> Any:
    """The JSON of a body."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as broken:
        raise Early(400, "the body is not JSON") from broken


_, _COMPONENTS = msgspec.json.schema_components([cgm.Reading], ref_template="#/{name}")
_READING = _COMPONENTS["Reading"]
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        JSON: {"schema": {"oneOf": [_READING, {"type": "array", "items": _READING, "maxItems": MAX_READINGS}]}},
    },
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    400: {"description": "The body is not JSON", "content": ERROR},
    401: {"description": "No wearer has this credential", "content": ERROR},
    413: {"description": f"More than {MAX_READINGS} readings", "content": ERROR},
    429: {"description": "Too many requests or failed attempts: try again after Retry-After", "content": ERROR},
    503: {"description": "Broker, disk or credentials are away: try again after Retry-After", "content": ERROR},
}
