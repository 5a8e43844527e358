"""The route of files that wearers have: an export of Dexcom Clarity or LibreView, and what became of each line."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, tzinfo
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response
from starlette.datastructures import FormData, UploadFile

from adapters.kafka import Message
from producers import cgm, forms, minutes, vendor_csv
from producers.forms import FORM
from producers.replies import ERROR, Early, answered, body, media_type, reply
from producers.site import Site, count
from producers.vendor_csv import Line
from producers.wearer_access import presented
from schemas.errors import RejectedInput, Unprocessable
from schemas.events import GlucoseObserved

PATH = "/v1/glucose/files"
CSV = "text/csv"
MAX_FILE_BYTES = 8_000_000
MAX_BODY_BYTES = MAX_FILE_BYTES + 10_000
MAX_LINES = 60_000
"""Half a year of a reading every five minutes."""
MAX_AT_WORK = 2
CHUNK = 500
"""Readings taken at once: what other senders wait for, about 20 ms."""
FIELDS = ("file", "zone", "token", "simulated")
FLAGS = {"": False, "false": False, "0": False, "true": True, "1": True}
ZONE = "zone is required: such files tell local times; write it like Europe/Berlin"
UNKNOWN = "neither an export of Dexcom Clarity nor of LibreView in UTF-8"


class LineResult(msgspec.Struct, frozen=True):
    """What became of one sensor value; `line` is that of the file, `event_id` is null where it was not taken."""

    line: int
    event_id: str | None
    status: str
    reason: str = ""


class Report(msgspec.Struct, frozen=True):
    """What became of a file. Lines that are no sensor values are not in it."""

    accepted: int
    refused: int
    unreadable: int
    results: list[LineResult]


def add(app: FastAPI, site: Site) -> None:
    """Adds the route to the application."""
    at_work = asyncio.BoundedSemaphore(MAX_AT_WORK)

    @app.post(PATH, openapi_extra={"requestBody": REQUEST_BODY}, responses=RESPONSES, summary="A wearer's export")
    async def file(request: Request) -> Response:
        """Takes the readings of a CSV export; sending it again adds nothing."""
        return await answered("glucose", _bounded(at_work, request, site))


async def _bounded(at_work: asyncio.BoundedSemaphore, request: Request, site: Site) -> Response:
    """One more file than fit into memory together is told to come again, before its bytes are read."""
    if at_work.locked():
        raise Early(503, "too many files at once")
    async with at_work:
        return await _file(request, site)


async def _file(request: Request, site: Site) -> Response:
    kind = media_type(request)
    if kind not in (CSV, FORM):
        raise Early(415, f"send {CSV}, or {FORM} with the file in it")
    refusal = site.door.why_refuse()
    if refusal is not None:  # before megabytes are read
        raise Early(503, str(refusal))
    # A form may bring the credential along; whoever sends the file itself is known before it is read.
    wearer = await site.access.wearer(request, PATH) if kind == CSV or presented(request) else None
    fields, data = (dict(request.query_params), await body(request, MAX_FILE_BYTES)) if kind == CSV else ({}, b"")
    if kind == FORM:
        found = await forms.form(request, limit=MAX_BODY_BYTES, fields=len(FIELDS))
        try:
            fields, data = await _fields(found)
        finally:
            await found.close()
    if wearer is None:
        wearer = await site.access.named(fields.get("token", ""), request, PATH)
    try:
        lines = await asyncio.to_thread(_lines, data, _zone(fields.get("zone", "")))
    except Unprocessable as problem:
        raise Early(422, str(problem)) from problem
    simulated = FLAGS.get(fields.get("simulated", "").lower())
    if simulated is None:
        raise Early(422, "simulated is true or false")
    results = await _take(site, wearer.subject_id, lines, simulated=simulated)
    tally = {status: sum(result.status == status for result in results) for status in Report.__struct_fields__[:3]}
    report = Report(**tally, results=results)
    return reply(200 if report.accepted or not results else 422, report)


async def _fields(form: FormData) -> tuple[dict[str, str], bytes]:
    file = form.get("file")
    if not isinstance(file, UploadFile) or set(form) - set(FIELDS):
        raise Early(422, f"a form has the file itself as `file`, and {', '.join(FIELDS[1:])}")
    return {name: value for name, value in form.items() if isinstance(value, str)}, await file.read(MAX_BODY_BYTES)


def _zone(name: str) -> tzinfo:
    if not name.strip():
        raise Unprocessable(ZONE)
    return vendor_csv.zone_named(name.strip())


def _lines(data: bytes, zone: tzinfo) -> list[Line]:
    try:
        found = vendor_csv.read(data.decode("utf-8-sig"), zone)
    except UnicodeDecodeError:
        found = None
    if found is None:
        raise Unprocessable(UNKNOWN)
    lines = list(found)
    if len(lines) > MAX_LINES:
        raise Unprocessable(f"a file has at most {MAX_LINES:,} readings; divide it")
    return lines


async def _take(site: Site, subject: str, lines: Sequence[Line], *, simulated: bool) -> list[LineResult]:
    """Makes the readings durable, some at a time, so that neighbours and the broker's client need not wait."""
    now = site.clock.now()
    results: list[LineResult] = []
    if not simulated and any(line.cut for line in lines):
        await site.settled(subject)
    for start in range(0, len(lines), CHUNK):
        taken: list[tuple[GlucoseObserved, Message]] = []
        some = lines[start : start + CHUNK]
        cut = (line.body for line in some if line.cut and line.body and not simulated)
        there = await minutes.of(site, subject, [datetime.fromisoformat(body["measured_at"]) for body in cut])
        for line in some:
            if line.body is None:
                results.append(LineResult(line.number, None, "unreadable", line.reason))
                continue
            try:
                reading = cgm.plain({**line.body, "simulated": simulated})
                if line.cut and (known := there.told(reading.measured_at, reading.device)):
                    results.append(LineResult(line.number, str(known.event_id), "accepted", minutes.WITH_SECONDS))
                    continue
                made = cgm.observed(reading, subject, now, "file")
            except RejectedInput as problem:
                results.append(LineResult(line.number, None, "refused", str(problem)))
                count("refused")
                continue
            taken.append(made)
            results.append(LineResult(line.number, str(made[0].event_id), "accepted"))
        await site.put(subject, taken)
    return results


_TEXT = {"type": "string"}
_FORM = {"file": {"type": "string", "format": "binary"}, "zone": _TEXT, "token": _TEXT, "simulated": _TEXT}
REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        CSV: {"schema": _TEXT},
        FORM: {"schema": {"type": "object", "properties": _FORM, "required": ["file", "zone"]}},
    },
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "Readings were taken; each line has its own result"},
    400: {"description": "The form cannot be read", "content": ERROR},
    401: {"description": "No wearer has this credential", "content": ERROR},
    413: {"description": f"More than {MAX_FILE_BYTES} bytes", "content": ERROR},
    415: {"description": f"Neither {CSV} nor {FORM}", "content": ERROR},
    422: {"description": "No such export, no zone, or no line was taken (then with the report)"},
    429: {"description": "Too many requests or failed attempts: try again after Retry-After", "content": ERROR},
    503: {
        "description": "Broker, disk or credentials are away: send the file again after Retry-After",
        "content": ERROR,
    },
}
