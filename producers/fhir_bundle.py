"""A submission of the HL7 CGM guide taken entry by entry: each has its own status, and a repeat is the same thing."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from adapters.database.shelf import NewDocument, Uploaded, in_ms
from adapters.kafka import Message
from producers import cgm, fhir_reading, uploaded
from producers.documents import MAX_BYTES, NUL
from producers.site import Site, count, known
from schemas.errors import RejectedInput, Unprocessable
from schemas.events import GlucoseObserved

TYPES = ("Observation", "DiagnosticReport", "Device")
KEPT = "fhir"
RESPONSES = {"transaction": "transaction-response", "batch": "batch-response"}
CRITERIA = frozenset(("identifier", "date", "code", "subject", "patient", "category", "device", "status"))
REASONS = {
    "200": "OK",
    "201": "Created",
    "400": "Bad Request",
    "405": "Method Not Allowed",
    "412": "Precondition Failed",
    "422": "Unprocessable Entity",
}


@dataclass(slots=True)
class Entry:
    """One entry on its way: what it holds, and what it came to."""

    resource: dict[str, Any]
    criteria: dict[str, str] | None = None
    said: fhir_reading.Said | None = None
    status: str = ""
    reason: str = ""
    location: str = ""


@dataclass(slots=True)
class Submission:
    """All entries, with what is to be put onto the log."""

    entries: list[Entry]
    taken: list[tuple[GlucoseObserved, Message]] = field(default_factory=list)
    refused: list[tuple[Any, str]] = field(default_factory=list)


async def submit(site: Site, subject: str, bundle: Mapping[str, Any]) -> dict[str, Any]:
    """Takes what can be taken; the answering bundle has one entry for each of the bundle, in order."""
    work = Submission([_entry(item) for item in bundle.get("entry") or ()])
    _one_person(work.entries)
    open_entries = [each for each in work.entries if not each.status]
    await _readings(site, subject, work, [each for each in open_entries if each.said])
    await _documents(site, subject, [each for each in open_entries if not each.said])
    for each in work.entries:
        if each.status[:1] == "4":
            work.refused.append((each.resource, each.reason))
            count("refused")
    await site.put_with_refused(subject, work.taken, work.refused, site.clock.now(), "fhir")
    answered = [{"response": _response(each)} for each in work.entries]
    return {"resourceType": "Bundle", "type": RESPONSES[str(bundle.get("type"))], "entry": answered}


def outcome(reason: str, code: str = "processing", severity: str = "error") -> dict[str, Any]:
    """An OperationOutcome with one sentence."""
    issue = {"severity": severity, "code": code, "diagnostics": reason}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def name_of(resource: Mapping[str, Any]) -> str:
    """The id of a kept resource: made from its first identifier, else from its content."""
    first = resource.get("identifier")
    first = first[0] if isinstance(first, list) and first else first
    if isinstance(first, Mapping) and isinstance(first.get("value"), str):
        return _identified(str(resource["resourceType"]), f"{first.get('system', '')}|{first['value']}")
    content = {name: value for name, value in resource.items() if name not in ("id", "meta", "text")}
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()[:32]


def _identified(kind: str, token: str) -> str:
    return hashlib.sha256(f"{kind}\n{token}".encode()).hexdigest()[:32]


def _entry(item: Any) -> Entry:
    """What an entry asks for; one that is not allowed has its status already."""
    resource = item.get("resource") if isinstance(item, Mapping) else None
    if not isinstance(resource, dict):
        return Entry({}, status="400", reason="the entry has no resource")
    request = item.get("request")
    request = request if isinstance(request, Mapping) else {}
    found = Entry(resource)
    kind = resource.get("resourceType")
    if request.get("method", "POST") != "POST":
        found.status, found.reason = "405", "only POST is taken here"
    elif kind not in TYPES:
        found.status, found.reason = "422", f"only {', '.join(TYPES)} are taken here"
    elif str(request.get("url", kind)).strip("/") != kind:
        found.status, found.reason = "400", "request.url is not the type of the resource"
    else:
        _look(found, request.get("ifNoneExist"))
    return found


def _look(found: Entry, criteria: Any) -> None:
    try:
        if criteria is not None:
            found.criteria = dict(parse_qsl(str(criteria).lstrip("?"), strict_parsing=True))
            if not found.criteria or found.criteria.keys() - CRITERIA:
                raise ValueError
    except ValueError:
        found.status = "400"
        found.reason = f"ifNoneExist is understood with {', '.join(sorted(CRITERIA))}, and no other"
        return
    try:
        if fhir_reading.is_reading(found.resource):
            found.said = fhir_reading.read(found.resource)
    except RejectedInput as refused:
        found.status, found.reason = "422", str(refused)
    encoded = msgspec.json.encode(found.resource)
    if len(encoded) > MAX_BYTES or NUL in encoded:
        found.status, found.reason = "422", f"a resource has at most {MAX_BYTES:,} bytes and no NUL characters"


def _one_person(entries: Sequence[Entry]) -> None:
    """The credential says whose readings these are; a bundle about several people cannot be all this wearer's."""
    names = [each.resource.get("subject") for each in entries]
    named = [name.get("reference") for name in names if isinstance(name, Mapping) and name.get("reference")]
    if len(set(map(str, named))) > 1:
        for each in entries:
            if not each.status:
                each.status, each.reason = "422", "the bundle speaks of more than one subject"


async def _readings(site: Site, subject: str, work: Submission, entries: Sequence[Entry]) -> None:
    times = {in_ms(each.said.reading.measured_at) for each in entries if each.said}
    stored: dict[int, list[Uploaded]] = {}
    if times:
        await site.settled(subject)
        for row in await site.kept(site.shelf.contents_at(subject, sorted(times))):
            stored.setdefault(row.time_ms, []).append(row)
    fresh: set[int] = set()
    for each in entries:
        if each.said is None:
            continue
        time_ms = in_ms(each.said.reading.measured_at)
        rows = stored.get(time_ms, [])
        each.location = f"Observation/{uploaded.identifier(time_ms)}"
        try:
            made = await _made(site, subject, each, rows, time_ms in fresh)
        except RejectedInput as refused:
            each.status, each.reason = "422", str(refused)
            continue
        if made is not None:
            work.taken.append(made)
            fresh.add(time_ms)


async def _made(
    site: Site, subject: str, each: Entry, rows: Sequence[Uploaded], again: bool
) -> tuple[GlucoseObserved, Message] | None:
    """The event of an entry, None when there is none to make; its status is set."""
    assert each.said is not None  # only entries that are readings come here
    now = site.clock.now()
    if each.criteria is not None and not each.criteria.keys() & {"identifier", "date"}:
        there = await site.kept(site.shelf.readings(subject, limit=2))
        if len(there) > 1:
            each.status, each.reason = "412", "ifNoneExist matches more than one reading"
            return None
        again = again or bool(there)
    if each.criteria is not None and (rows or again):
        each.status = "200"
        return None
    if each.said.wrong:
        if not rows:
            raise Unprocessable("there is no reading of that time to take back")
        each.status = "200"
        return None if rows[-1].deleted else cgm.taken_back(rows[-1], subject, now, "fhir")
    corrects = each.resource.get("status") in ("amended", "corrected")
    made = cgm.observed(each.said.reading, subject, now, "fhir", rows if corrects else ())
    each.status = "200" if known(site, subject, rows, made[0].event_id) else "201"
    return None if each.status == "200" else made


async def _documents(site: Site, subject: str, entries: Sequence[Entry]) -> None:
    new: list[tuple[Entry, NewDocument]] = []
    for each in entries:
        kind, name = str(each.resource["resourceType"]), name_of(each.resource)
        token = (each.criteria or {}).get("identifier")
        if token is not None:
            name = _identified(kind, token if "|" in token else f"|{token}")
            if await site.kept(site.shelf.document(subject, KEPT, f"{kind}/{name}")):
                each.status, each.location = "200", f"{kind}/{name}"
                continue
        each.location = f"{kind}/{name}"
        new.append((each, NewDocument(each.location, site.clock.now(), {**each.resource, "id": name})))
    puts = await site.kept(site.shelf.put(subject, KEPT, [document for _, document in new]))
    for (each, _), put in zip(new, puts, strict=True):
        each.status = "201" if put.created else "200"


def _response(each: Entry) -> dict[str, Any]:
    found: dict[str, Any] = {"status": f"{each.status} {REASONS[each.status]}"}
    if each.status[:1] == "2":
        found["location"] = each.location
    else:
        found["outcome"] = outcome(each.reason)
    return found
