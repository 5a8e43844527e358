"""The HTTP door assembled: the route of ward vitals, those of its neighbours, liveness, readiness."""

from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response

from adapters.clock import Clock
from adapters.kafka import Message
from adapters.pixels import BlobStore
from producers import (
    dicomweb_retrieve,
    dicomweb_search,
    otoscope_routes,
    review,
    stow,
    vitals,
    wearer_routes,
)
from producers.dicomweb_access import Access
from producers.door import Door
from producers.replies import (
    ERROR,
    JSON,
    MAX_BODY_BYTES,
    Early,
    Result,
    answered,
    body,
    error,
    reply,
    require_json,
    take,
)
from producers.store_request import BUILT_IN_TABLE
from producers.wearer_routes import Wearers
from schemas.errors import RejectedInput
from schemas.routing import Table


@dataclass(frozen=True, slots=True)
class Stored:
    """Where stored objects are looked for and read."""

    archive: dicomweb_search.Archive
    store: BlobStore


def build(
    door: Door,
    key: bytes,
    clock: Clock,
    wearers: Wearers | None = None,
    *,
    access: Access | None = None,
    stored: Stored | None = None,
    table: Table = BUILT_IN_TABLE,
) -> FastAPI:
    """The application; `door` takes the events in, `key` makes the pseudonyms, `wearers` knows the uploaders.

    Without `wearers` no glucose is taken, without `stored` nothing is searched and retrieved. `access` says who may
    use DICOMweb, `table` where its objects go.
    """
    allowed = access or Access()
    app = FastAPI(title="clinstream door", version="1", docs_url=None, redoc_url=None)

    @app.post("/v1/vitals", openapi_extra={"requestBody": REQUEST_BODY}, responses=RESPONSES, summary="Ward vitals")
    async def post_vitals(request: Request) -> Response:
        """Takes one reading or an array of at most 1,000; success means that all in-sync brokers have it."""
        return await answered("http", _vitals(request, door, key, clock))

    review.add(app, door, key, clock)
    otoscope_routes.add(app, door, key, clock)
    stow.add(app, door, key, clock, allowed, table)
    if stored is not None:
        dicomweb_search.add(app, stored.archive, allowed)
        dicomweb_retrieve.add(app, stored.archive, stored.store, allowed)
    if wearers is not None:
        wearer_routes.add(app, door, key, clock, wearers)

    @app.get("/healthz", summary="The process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="The door would take an event now", responses={503: {"description": "Not now"}})
    async def readyz() -> Response:
        refusal = door.why_refuse()
        return error(503, str(refusal)) if refusal else reply(200, {"status": "ready"})

    return app


async def _vitals(request: Request, door: Door, key: bytes, clock: Clock) -> Response:
    require_json(request)
    data = await body(request)
    try:
        readings, array = vitals.read(data)
    except vitals.TooMany as many:
        raise Early(413, str(many)) from many
    except RejectedInput as refused:
        raise Early(400, str(refused)) from refused
    results, messages = _events(readings, key, clock)
    await take(door, messages)
    accepted = any(result.status == "accepted" for result in results)
    return reply(200 if accepted or (array and not results) else 422, {"results": results})


def _events(
    readings: list[vitals.Reading | vitals.Refused], key: bytes, clock: Clock
) -> tuple[list[Result], list[Message]]:
    """The answer for each reading, and the records of those that are taken, each once."""
    results: list[Result] = []
    messages: dict[str, Message] = {}
    now = clock.now()
    for reading in readings:
        if isinstance(reading, vitals.Refused):
            results.append(Result(None, "refused", reading.reason))
            continue
        event, message = vitals.observed(reading, key, now)
        name = str(event.event_id)
        messages.setdefault(name, message)
        results.append(Result(name, "accepted"))
    return results, list(messages.values())


_, _COMPONENTS = msgspec.json.schema_components([vitals.Reading, Result], ref_template="#/{name}")
_READING, _RESULT = _COMPONENTS["Reading"], _COMPONENTS["Result"]
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        JSON: {
            "schema": {"oneOf": [_READING, {"type": "array", "items": _READING, "maxItems": vitals.MAX_READINGS}]},
        }
    },
}
_RESULTS = {JSON: {"schema": {"type": "object", "properties": {"results": {"type": "array", "items": _RESULT}}}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "At least one reading is on the log; each has its result", "content": _RESULTS},
    400: {"description": "The body is not JSON", "content": ERROR},
    413: {"description": f"More than {vitals.MAX_READINGS} readings or {MAX_BODY_BYTES} bytes", "content": ERROR},
    415: {"description": f"Not {JSON}", "content": ERROR},
    422: {"description": "No reading was taken; each result says why", "content": _RESULTS},
    503: {"description": "Broker or disk cannot take it: try again after Retry-After", "content": ERROR},
}
