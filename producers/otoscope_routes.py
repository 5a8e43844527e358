"""The route of otoscope pictures: a form with the picture and what it is of."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import FastAPI, Request, Response
from starlette.datastructures import FormData, UploadFile

from adapters import bare_picture, telemetry
from adapters.clock import Clock
from producers import forms, otoscope
from producers.door import Door
from producers.forms import FORM
from producers.replies import ERROR, Early, answered, media_type, reply, take
from schemas.errors import Unprocessable

SOURCE = "door-http"
MAX_BODY_BYTES = otoscope.MAX_IMAGE_BYTES + 1_000_000
MAX_AT_WORK = 8
FIELDS = ("image", "subject", "laterality", "issuer", "device", "stat", "simulated")
FLAGS = {"": False, "false": False, "0": False, "true": True, "1": True}


def add(app: FastAPI, door: Door, key: bytes, clock: Clock) -> None:
    """Adds the route to the application."""
    # One thread: a picture at its largest takes 150 MB while it is decoded.
    decoder = ThreadPoolExecutor(1, thread_name_prefix="picture")
    at_work = asyncio.BoundedSemaphore(MAX_AT_WORK)

    @app.post(
        "/v1/otoscope",
        openapi_extra={"requestBody": REQUEST_BODY},
        responses=RESPONSES,
        summary="A picture of an ear",
    )
    async def post_otoscope(request: Request) -> Response:
        """Takes one picture; success means that it is on disk and all in-sync brokers have its event."""
        return await answered("otoscope", _bounded(at_work, request, door, key, clock, decoder))


async def _bounded(at_work: asyncio.BoundedSemaphore, request: Request, *parts: Any) -> Response:
    """One more upload than fit into memory together is told to come again, before its bytes are read."""
    if at_work.locked():
        raise Early(503, "too many pictures at once")
    async with at_work:
        return await _otoscope(request, *parts)


async def _otoscope(request: Request, door: Door, key: bytes, clock: Clock, decoder: ThreadPoolExecutor) -> Response:
    if media_type(request) != FORM:
        raise Early(415, f"send {FORM}")
    refusal = door.why_refuse()
    if refusal is not None:  # before megabytes are read and decoded
        raise Early(503, str(refusal))
    upload = await _upload(request)
    now = clock.now()

    def work() -> Any:
        return otoscope.observed(upload, key, now, source=SOURCE)

    try:
        event, message, blob = await asyncio.get_running_loop().run_in_executor(decoder, work)
    except Unprocessable as refused:
        letter, kept = otoscope.aside(upload.image, str(refused), now, source=SOURCE)
        await take(door, [letter], kept)
        telemetry.metrics().dead_letters.labels(lane=SOURCE, kind="unprocessable").inc()
        raise Early(422 if bare_picture.form(upload.image) else 415, str(refused)) from refused
    await take(door, [message], blob)
    return reply(200, {"event_id": str(event.event_id), "object_id": event.object_id})


async def _upload(request: Request) -> otoscope.Upload:
    """What the form holds; ends the request naming the field that is missing or wrong."""
    form = await forms.form(request, limit=MAX_BODY_BYTES, fields=len(FIELDS))
    try:
        unknown = sorted(set(form) - set(FIELDS))
        if unknown:
            raise Early(422, f"unknown fields; a form has {', '.join(FIELDS)}")
        image = form.get("image")
        if not isinstance(image, UploadFile):
            raise Early(422, "image is required: the bytes of a JPEG or PNG file")
        data = await image.read(otoscope.MAX_IMAGE_BYTES + 1)
        if len(data) > otoscope.MAX_IMAGE_BYTES:
            raise Early(413, f"a picture has at most {otoscope.MAX_IMAGE_BYTES:,} bytes")
        subject = _text(form, "subject")
        if not subject:
            raise Early(422, "subject is required: whose ear it is")
        return otoscope.Upload(
            image=data,
            subject=subject,
            laterality=otoscope.side(_text(form, "laterality")),
            issuer=_text(form, "issuer"),
            device=_text(form, "device"),
            stat=_flag(form, "stat"),
            simulated=_flag(form, "simulated"),
        )
    except Unprocessable as refused:
        raise Early(422, str(refused)) from refused
    finally:
        await form.close()


def _text(form: FormData, name: str) -> str:
    value = form.get(name, "")
    if not isinstance(value, str) or len(value) > otoscope.MAX_NAME:
        raise Early(422, f"{name} is text of at most {otoscope.MAX_NAME} characters")
    return value.strip()


def _flag(form: FormData, name: str) -> bool:
    found = FLAGS.get(_text(form, name).lower())
    if found is None:
        raise Early(422, f"{name} is true or false")
    return found


_TEXT = {"type": "string", "maxLength": otoscope.MAX_NAME}
_FIELDS = {
    "image": {"type": "string", "format": "binary"},
    "subject": _TEXT,
    "laterality": {"type": "string", "enum": sorted(otoscope.SIDES)},
    "issuer": _TEXT,
    "device": _TEXT,
    "stat": {"type": "boolean", "default": False},
    "simulated": {"type": "boolean", "default": False},
}
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        FORM: {"schema": {"type": "object", "properties": _FIELDS, "required": ["image", "subject", "laterality"]}}
    },
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture is stored and its event on the log"},
    400: {"description": "The form cannot be read", "content": ERROR},
    413: {"description": f"More than {otoscope.MAX_IMAGE_BYTES} bytes", "content": ERROR},
    415: {"description": f"Not {FORM}, or the image is neither JPEG nor PNG (kept aside)", "content": ERROR},
    422: {
        "description": "A field is missing or wrong, or the picture is damaged or too large (kept aside)",
        "content": ERROR,
    },
    503: {"description": "Broker, store or disk cannot take it: try again after Retry-After", "content": ERROR},
}
