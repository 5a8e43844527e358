"""The HTTP door: `POST /v1/vitals`, liveness and readiness; what a reading must look like is in `vitals`."""

import contextlib
import math
import time
from collections.abc import Iterator
from typing import Any

import msgspec
import uvicorn
from fastapi import FastAPI, Request, Response

from adapters import telemetry
from adapters.clock import Clock
from adapters.kafka import Message
from producers import vitals
from producers.door import Door
from schemas.errors import RejectedInput, Unavailable

MAX_BODY_BYTES = 5_000_000
RETRY_AFTER_S = 2
JSON = "application/json"


class Result(msgspec.Struct, frozen=True):
    """What became of one reading; `event_id` is null for a refused one."""

    event_id: str | None
    status: str
    reason: str = ""


class _Answer(Exception):
    """Ends a request with this status and sentence."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def build(door: Door, key: bytes, clock: Clock) -> FastAPI:
    """The application; `door` takes the events in, `key` makes the pseudonyms."""
    app = FastAPI(title="clinstream door", version="1", docs_url=None, redoc_url=None)

    @app.post("/v1/vitals", openapi_extra={"requestBody": REQUEST_BODY}, responses=RESPONSES, summary="Ward vitals")
    async def post_vitals(request: Request) -> Response:
        """Takes one reading or an array of at most 1,000; success means that all in-sync brokers have it."""
        start = time.monotonic()
        try:
            answer = await _vitals(request, door, key, clock)
        except _Answer as early:
            answer = _error(early.status, str(early))
        meters = telemetry.metrics()
        meters.door_requests.labels(door="http", status=str(answer.status_code)).inc()
        meters.door_seconds.labels(door="http").observe(time.monotonic() - start)
        return answer

    @app.get("/healthz", summary="The process answers")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", summary="The door would take an event now", responses={503: {"description": "Not now"}})
    async def readyz() -> Response:
        refusal = door.why_refuse()
        return _error(503, str(refusal)) if refusal else _json(200, {"status": "ready"})

    return app


def server(app: FastAPI, host: str, port: int) -> uvicorn.Server:
    """A server that leaves signals to its process, logs no requests, and finishes those under way when told to end."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=10,
        server_header=False,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: the process stops the server in its own order."""
        yield

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        telemetry.metrics().ready.set(1)

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        telemetry.metrics().ready.set(0)
        await super().shutdown(sockets)


async def _vitals(request: Request, door: Door, key: bytes, clock: Clock) -> Response:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != JSON:
        raise _Answer(415, f"send {JSON}")
    body = await _body(request)
    try:
        readings, array = vitals.read(body)
    except vitals.TooMany as error:
        raise _Answer(413, str(error)) from error
    except RejectedInput as error:
        raise _Answer(400, str(error)) from error
    results, messages = _events(readings, key, clock)
    try:
        if messages:
            await door.accept(messages)
    except Unavailable as error:
        raise _Answer(503, str(error)) from error
    except RejectedInput as error:
        raise _Answer(413, str(error)) from error
    accepted = any(result.status == "accepted" for result in results)
    return _json(200 if accepted or (array and not results) else 422, {"results": results})


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


async def _body(request: Request) -> bytes:
    """The body, given up as soon as it is known or seen to be too large."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > MAX_BODY_BYTES:
        raise _Answer(413, f"a body has at most {MAX_BODY_BYTES:,} bytes")
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY_BYTES:
            raise _Answer(413, f"a body has at most {MAX_BODY_BYTES:,} bytes")
        parts.append(part)
    return b"".join(parts)


def _json(status: int, content: Any) -> Response:
    return Response(msgspec.json.encode(content), status_code=status, media_type=JSON)


def _error(status: int, reason: str) -> Response:
    answer = _json(status, {"error": reason})
    if status == 503:
        answer.headers["retry-after"] = str(math.ceil(RETRY_AFTER_S))
    return answer


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
_ERROR = {JSON: {"schema": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "At least one reading is on the log; each has its result", "content": _RESULTS},
    400: {"description": "The body is not JSON", "content": _ERROR},
    413: {"description": f"More than {vitals.MAX_READINGS} readings or {MAX_BODY_BYTES} bytes", "content": _ERROR},
    415: {"description": f"Not {JSON}", "content": _ERROR},
    422: {"description": "No reading was taken; each result says why", "content": _RESULTS},
    503: {"description": "Broker or disk cannot take it: try again after Retry-After", "content": _ERROR},
}
