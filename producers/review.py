"""The review door: a clinician's assessment of a result becomes an event; whether the result exists is asked later."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import FastAPI, Request, Response

from adapters import telemetry
from adapters.clock import Clock
from adapters.kafka import Message
from producers.door import Door
from producers.replies import ERROR, JSON, Early, answered, body, reply, require_json, take
from schemas import topics
from schemas.assessing import assessment
from schemas.envelope import pack
from schemas.errors import Unprocessable
from schemas.events import ResultAssessed, Verdict

SOURCE = "clinstream/door-http"
MAX_BYTES = 16_384
KEY_HEADER = "idempotency-key"

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Assessment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a clinician says of a result."""

    verdict: Verdict
    clinician: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    label: Annotated[str, msgspec.Meta(max_length=64)] = ""
    idempotency_key: Key | None = None


def assessed(
    result_id: UUID, said: Assessment, idempotency_key: str, key: bytes, now: datetime
) -> tuple[ResultAssessed, Message]:
    """The event of an assessment, and its record, keyed by result; raises Unprocessable for a label out of place."""
    event = assessment(
        result_id,
        said.verdict,
        said.label,
        said.clinician,
        idempotency_key=idempotency_key,
        key=key,
        when=now,
        sender="http",
    )
    headers, value = pack(
        event,
        id=str(event.override_id),
        source=SOURCE,
        subject=str(result_id),
        time=now,
        traceparent=telemetry.new_traceparent(),
        extensions={"priority": "routine"},
    )
    return event, Message(topics.OVERRIDES, str(result_id).encode(), headers, value)


def add(app: FastAPI, door: Door, key: bytes, clock: Clock) -> None:
    """Adds the route to the application."""

    @app.post(
        "/v1/results/{result_id}/assessments",
        openapi_extra={"requestBody": REQUEST_BODY},
        responses=RESPONSES,
        summary="A clinician's assessment of a result",
    )
    async def assess(result_id: str, request: Request) -> Response:
        """Takes one assessment; a repeat with the same idempotency key is the same one."""
        return await answered("review", _assess(result_id, request, door, key, clock))


async def _assess(result_id: str, request: Request, door: Door, key: bytes, clock: Clock) -> Response:
    require_json(request)
    try:
        result = UUID(result_id)
    except ValueError as broken:
        raise Early(400, "the result id is no UUID") from broken
    said = _read(await body(request, MAX_BYTES))
    once = _idempotency_key(request.headers.get(KEY_HEADER), said.idempotency_key)
    try:
        event, message = assessed(result, said, once, key, clock.now())
    except Unprocessable as refused:
        raise Early(422, str(refused)) from refused
    await take(door, [message])
    return reply(200, {"override_id": str(event.override_id)})


def _read(data: bytes) -> Assessment:
    try:
        return msgspec.json.decode(data, type=Assessment)
    except msgspec.ValidationError as refused:
        raise Early(422, str(refused)[:200]) from refused
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        raise Early(400, "the body is not JSON") from broken


def _idempotency_key(header: str | None, field: str | None) -> str:
    if header and field and header != field:
        raise Early(400, "header and field name different idempotency keys")
    found = header or field or ""
    if not found:
        raise Early(400, "send an Idempotency-Key, so that a repeated request is one assessment")
    if len(found) > 200:
        raise Early(400, "an Idempotency-Key has at most 200 characters")
    return found


_, _COMPONENTS = msgspec.json.schema_components([Assessment], ref_template="#/{name}")
REQUEST_BODY: dict[str, Any] = {"required": True, "content": {JSON: {"schema": _COMPONENTS["Assessment"]}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The assessment is on the log"},
    400: {"description": "Not JSON, no result id, or no Idempotency-Key", "content": ERROR},
    415: {"description": f"Not {JSON}", "content": ERROR},
    422: {"description": "The verdict or its label cannot be taken; the sentence says why", "content": ERROR},
    503: {"description": "Broker or disk cannot take it: try again after Retry-After", "content": ERROR},
}
