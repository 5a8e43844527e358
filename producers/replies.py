"""What all routes of the HTTP door share: bodies with a limit, answers, durable or "try again"; no route is here."""

import time
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from fastapi import Request, Response

from adapters import telemetry
from adapters.kafka import Message
from producers.door import Door
from schemas.errors import RejectedInput, Unavailable

MAX_BODY_BYTES = 5_000_000
RETRY_AFTER_S = 2
JSON = "application/json"
ERROR = {JSON: {"schema": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}}}


class Result(msgspec.Struct, frozen=True):
    """What became of one reading; `event_id` is null for a refused one."""

    event_id: str | None
    status: str
    reason: str = ""


class Early(Exception):
    """Ends a request with this status and sentence; `wait_s`: when to come again, where that is known."""

    def __init__(self, status: int, reason: str, wait_s: int = 0) -> None:
        super().__init__(reason)
        self.status = status
        self.wait_s = wait_s


Tell = Callable[[int, str], Any]
"""The body of an answer that says what is wrong, as an interface writes it."""


def plainly(_: int, reason: str) -> dict[str, Any]:
    """How our own routes say what is wrong."""
    return {"error": reason}


async def answered(door: str, work: Awaitable[Response], tell: Tell = plainly) -> Response:
    """The answer of a route, counted and timed under the name of its door."""
    start = time.monotonic()
    try:
        answer = await work
    except Early as early:
        answer = error(early.status, str(early), tell, early.wait_s)
    meters = telemetry.metrics()
    meters.door_requests.labels(door=door, status=str(answer.status_code)).inc()
    meters.door_seconds.labels(door=door).observe(time.monotonic() - start)
    return answer


async def take(door: Door, messages: Sequence[Message], blob: tuple[str, bytes] | None = None) -> None:
    """Returns once everything is durable; ends the request with "try again" or "too large" where that cannot be."""
    try:
        if messages:
            await door.accept(messages, blob)
    except Unavailable as away:
        raise Early(503, str(away)) from away
    except RejectedInput as refused:
        raise Early(413, str(refused)) from refused


def media_type(request: Request) -> str:
    """The media type of the body without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_json(request: Request) -> None:
    """Ends the request where the body does not call itself JSON."""
    if media_type(request) != JSON:
        raise Early(415, f"send {JSON}")


async def body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """The body, given up as soon as it is known or seen to be too large."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > limit:
        raise Early(413, f"a body has at most {limit:,} bytes")
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise Early(413, f"a body has at most {limit:,} bytes")
        parts.append(part)
    data = b"".join(parts)
    coding = request.headers.get("content-encoding", "").strip().lower()
    return data if coding in ("", "identity") else _inflated(data, coding, limit)


def reply(status: int, content: Any) -> Response:
    """JSON."""
    return Response(msgspec.json.encode(content), status_code=status, media_type=JSON)


def error(status: int, reason: str, tell: Tell = plainly, wait_s: int = 0) -> Response:
    """A sentence that says what is wrong, and for 503 and 429 when to come again."""
    answer = reply(status, tell(status, reason))
    if status in (429, 503):
        answer.headers["retry-after"] = str(wait_s or RETRY_AFTER_S)
    return answer


def _inflated(data: bytes, coding: str, limit: int) -> bytes:
    """The body that was sent compressed; what would become too large is given up before it does."""
    if coding not in ("gzip", "x-gzip", "deflate"):
        raise Early(415, "a body comes plain or with the content encoding gzip or deflate")
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        found = inflate.decompress(data, limit + 1)
    except zlib.error as broken:
        raise Early(400, f"the body is not {coding}") from broken
    if len(found) > limit:
        raise Early(413, f"a body has at most {limit:,} bytes")
    if not inflate.eof:
        raise Early(400, f"the body is not whole {coding}")
    return found
