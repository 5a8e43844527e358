"""Routes of glucose readings: those of Nightscout uploaders, and our own with a result for each reading."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response

from adapters import telemetry
from adapters.clock import Clock
from adapters.kafka import Message
from adapters.wearers import Credential, WearerBook
from producers import cgm
from producers.aside import put_aside
from producers.door import Door
from producers.guesses import Guesses
from producers.replies import ERROR, JSON, Early, Result, answered, body, reply, require_json, take
from schemas import topics
from schemas.errors import DatabaseUnavailable, RejectedInput

MAX_READINGS = 10_000
ECHOED = ("type", "date", "dateString", "sgv", "direction", "device", "units", "identifier")
LANES = {topic: lane for lane, topic in topics.OBSERVED_GLUCOSE.items()}
UNKNOWN = "no wearer has this credential; `clinstream wearers add` makes one"


def add(app: FastAPI, door: Door, clock: Clock, wearers: WearerBook) -> None:
    """Adds the routes to the application."""
    guesses = Guesses(clock)

    async def entries(request: Request) -> Response:
        """Takes sensor values as Nightscout uploaders send them; answers an array also for one entry."""
        return await answered("glucose", _entries(request, door, clock, wearers, guesses))

    for path in ("/api/v1/entries", "/api/v1/entries.json"):
        app.post(path, summary="Nightscout entries", responses=RESPONSES)(entries)

    @app.get("/api/v1/status.json", summary="What uploaders ask before they send")
    async def nightscout_status() -> dict[str, Any]:
        return {"status": "ok", "name": "clinstream", "apiEnabled": True, "settings": {"units": "mg/dl"}}

    @app.post("/v1/glucose", openapi_extra={"requestBody": REQUEST_BODY}, responses=RESPONSES, summary="Glucose")
    async def glucose(request: Request) -> Response:
        """Takes one reading or an array; success means that all in-sync brokers have it."""
        return await answered("glucose", _glucose(request, door, clock, wearers, guesses))


async def _entries(request: Request, door: Door, clock: Clock, wearers: WearerBook, guesses: Guesses) -> Response:
    wearer = await _wearer(request, wearers, guesses)
    items = _items(await body(request))
    now = clock.now()
    answers: list[dict[str, Any]] = []
    messages: dict[str, Message] = {}
    refused: list[tuple[Any, str]] = []
    for item in items:
        known = {name: item[name] for name in ECHOED if name in item} if isinstance(item, Mapping) else {}
        try:
            reading = cgm.entry(item)
            if isinstance(reading, cgm.NotTaken):
                answers.append(known)
                _count("left")
                continue
            event, message = cgm.observed(reading, wearer.subject_id, now, "nightscout")
        except RejectedInput as problem:
            refused.append((item, str(problem)))
            _count("refused")
            answers.append({**known, "refused": str(problem)})
            continue
        messages.setdefault(str(event.event_id), message)
        answers.append({"_id": str(event.event_id), **known, "type": "sgv"})
    await _take(door, list(messages.values()), refused, now)
    _count_taken(messages.values())
    return reply(200, answers)


async def _glucose(request: Request, door: Door, clock: Clock, wearers: WearerBook, guesses: Guesses) -> Response:
    wearer = await _wearer(request, wearers, guesses)
    require_json(request)
    items = _items(await body(request))
    now = clock.now()
    results: list[Result] = []
    messages: dict[str, Message] = {}
    for item in items:
        try:
            event, message = cgm.observed(cgm.plain(item), wearer.subject_id, now, "http")
        except RejectedInput as problem:
            results.append(Result(None, "refused", str(problem)))
            _count("refused")
            continue
        messages.setdefault(str(event.event_id), message)
        results.append(Result(str(event.event_id), "accepted"))
    await take(door, list(messages.values()))
    _count_taken(messages.values())
    return reply(200 if messages or not results else 422, {"results": results})


async def _wearer(request: Request, wearers: WearerBook, guesses: Guesses) -> Credential:
    """Whom the credential of the request selects; a failure is answered late, so that guessing takes long."""
    presented = request.headers.get("api-secret") or request.query_params.get("token") or ""
    try:
        found = await wearers.find(presented)
    except DatabaseUnavailable as away:
        raise Early(503, str(away)) from away
    if found is None:
        address = request.client.host if request.client else ""
        if not await guesses.slow(address):
            raise Early(429, "too many failed attempts from this address")
        raise Early(401, UNKNOWN)
    return found


async def _take(door: Door, messages: Sequence[Message], refused: Sequence[tuple[Any, str]], now: datetime) -> None:
    """Makes readings durable, and puts refused entries aside: their uploader does not read reasons."""
    if not refused:
        await take(door, messages)
        return
    message, blob = put_aside(
        msgspec.json.encode([item for item, _ in refused]),
        door="door-http",
        sender="nightscout",
        media_type=JSON,
        error_class="RefusedEntries",
        reason=f"{len(refused)} refused, the first because: {refused[0][1]}",
        now=now,
    )
    await take(door, [*messages, message], blob)
    telemetry.metrics().dead_letters.labels(lane="door-http", kind="unprocessable").inc()


def _count(fate: str) -> None:
    telemetry.metrics().glucose_entries.labels(fate=fate).inc()


def _count_taken(messages: Iterable[Message]) -> None:
    for message in messages:
        _count(LANES[message.topic])


def _items(data: bytes) -> list[Any]:
    """The entries of a body: an array, or one object; an empty object is none."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        raise Early(400, "the body is not JSON") from broken
    items = found if isinstance(found, list) else [found] if found != {} else []
    if len(items) > MAX_READINGS:
        raise Early(413, f"a post carries at most {MAX_READINGS:,} readings")
    return items


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
    429: {"description": "Too many failed attempts: try again after Retry-After", "content": ERROR},
    503: {"description": "Broker, disk or credentials are away: try again after Retry-After", "content": ERROR},
}
