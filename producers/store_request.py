"""One object to be stored, by C-STORE or STOW-RS: which status it deserves and what goes to the log; no network."""

import struct
from dataclasses import dataclass, field, replace
from datetime import datetime

from adapters import sealing, telemetry
from adapters.kafka import Message
from adapters.pixels import blob_uri, identity_uri
from producers import dicom_identity
from producers.aside import put_aside
from producers.dicom_identity import Header
from producers.door import Door
from schemas import ids, topics
from schemas.envelope import pack
from schemas.errors import RejectedInput, Unavailable
from schemas.events import BlobRef, ImageObserved
from schemas.routing import Facts, Table

ACCEPTED = 0x0000
COERCED = 0xB000
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
WARNING_DOES_NOT_MATCH = 0xB007
"""C-STORE statuses, PS3.4 table B.2-1. The warnings mean: stored, but changed (de-identified); stored, though the
object lacks what its class demands."""

BUILT_IN_TABLE = Table()

MEDIA_TYPE = "application/dicom"

IMPLEMENTATION_CLASS_UID = ids.DICOM_ROOT
"""Fixed, so that the same data set is the same file, and so the same blob, whatever
release of a library is installed."""


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """A C-STORE-RQ, or one part of a STOW-RS request: `data` is the data set as it was on the wire, the UIDs are the
    request's affected ones, `door` is the process that took it. `room`, where there is one, is memory that ends with
    `data` and has free bytes before it, which the file's group 0002 may be written to."""

    data: bytes | memoryview = field(repr=False)
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    priority: int | None
    sender: str
    called: str
    door: str = "door-dicom"
    room: memoryview | None = field(repr=False, default=None)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the sender is told: a status and a reason that quotes nothing of the data set."""

    status: int
    reason: str = ""
    event_id: str = ""


def try_again(reason: str) -> Answer:
    """Out of resources: nothing is wrong with the object, the sender is to repeat it."""
    return Answer(OUT_OF_RESOURCES, reason)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a request is worth if `message` and `blobs` (uri, bytes) can be made durable: `answer`."""

    answer: Answer
    message: Message
    blobs: tuple[tuple[str, bytes | memoryview], ...]
    door: str = "door-dicom"


def judge(request: StoreRequest, key: bytes, now: datetime, table: Table = BUILT_IN_TABLE) -> Verdict:
    """Reads the header, decides, and makes what is to be kept; touches nothing shared, so it may run in any thread."""
    try:
        header = dicom_identity.read_header(request.data, request.transfer_syntax_uid, table.tags)
        if mismatch := _mismatch(request, header):
            return _aside(request, key, now, table, Answer(DOES_NOT_MATCH, mismatch), "DoesNotMatch")
        told = pseudonymous(request, header, key, table)
    except RejectedInput as error:
        return _aside(request, key, now, table, Answer(CANNOT_UNDERSTAND, str(error)), type(error).__name__)
    file = part_10(told.request, told.header)
    event, message = observed(told.request, told.header, file, key, now, table, deidentified=bool(told.identity))
    answer = Answer(ACCEPTED, "", str(event.event_id))
    blobs: list[tuple[str, bytes | memoryview]] = [(event.blob.uri, file)]
    if told.identity:
        answer = Answer(COERCED, "stored de-identified", str(event.event_id))
        place = identity_uri(event.blob.uri)
        blobs.insert(0, (place, sealing.seal(key, place, told.identity)))
    if not header.study_instance_uid:
        reason = "stored; it has no Study Instance UID (0020,000D)"
        answer = Answer(WARNING_DOES_NOT_MATCH, reason, str(event.event_id))
    return Verdict(answer, message, tuple(blobs), request.door)


@dataclass(frozen=True, slots=True)
class Kept:
    """A request as it is kept: as it came, or without its identity, which then stands beside it."""

    request: StoreRequest
    header: Header
    identity: bytes = field(repr=False, default=b"")


def pseudonymous(request: StoreRequest, header: Header, key: bytes, table: Table) -> Kept:
    """The request as the routing table has it kept; raises RejectedInput where its identity cannot be taken off.

    Who sent what, and what the table decides by, is of the object as it came.
    """
    if not table.deidentifies:
        return Kept(request, header)
    route = table.route(dicom_identity.facts_of(header, request.sender, request.called, request.priority))
    if route.deidentify == "no":
        return Kept(request, header)
    # On use: the table of the profile costs a process memory.
    from adapters import deidentification

    syntax = request.transfer_syntax_uid
    made = deidentification.on_the_wire(bytes(request.data), syntax, key, route.deidentify, dicom_identity.MARKS)
    found = dicom_identity.read_header(made.data, syntax)
    found = replace(
        found,
        order_priority=header.order_priority,
        elements=header.elements,
        wrapped=header.wrapped,
        simulated=header.simulated,
    )
    request = replace(request, data=made.data, room=None, sop_instance_uid=found.sop_instance_uid)
    return Kept(request, found, made.identity)


async def settle(verdict: Verdict, door: Door) -> Answer:
    """The verdict's answer once everything is durable; "try again" when that cannot be had."""
    try:
        await door.accept([verdict.message], *verdict.blobs)
    except Unavailable as error:
        return try_again(str(error))
    if verdict.message.topic == topics.DEAD_UNPROCESSABLE:
        telemetry.metrics().dead_letters.labels(lane=verdict.door, kind="unprocessable").inc()
    return verdict.answer


def observed(
    request: StoreRequest,
    header: Header,
    file: bytes | memoryview,
    key: bytes,
    now: datetime,
    table: Table = BUILT_IN_TABLE,
    *,
    deidentified: bool = False,
) -> tuple[ImageObserved, Message]:
    """The event of an object, and the record for `observed.dicom`, keyed by study."""
    simulated = header.simulated or request.called.upper().endswith(dicom_identity.SIMULATED_SUFFIX)
    object_id = dicom_identity.object_of(header, simulated=simulated)
    sha256 = ids.sha256_hex(file)
    facts = dicom_identity.facts_of(header, request.sender, request.called, request.priority)
    route = table.route(facts)
    event = ImageObserved(
        event_id=ids.event_id(object_id, ids.sha256_hex(request.data)),
        object_id=object_id,
        subject_id=dicom_identity.subject_of(key, header),
        study_id=dicom_identity.study_of(key, header),
        blob=BlobRef(uri=blob_uri("pixels", sha256), sha256=sha256, size_bytes=len(file), media_type=MEDIA_TYPE),
        priority=route.lane,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=request.transfer_syntax_uid,
        modality=header.modality,
        sender=request.sender,
        observed_at=now,
        simulated=simulated,
        wrapped=header.wrapped,
        called=request.called,
        tasks=route.tasks,
        destinations=route.destinations,
        routed_by=route.rows,
        deidentified=deidentified,
    )
    extensions = {"priority": event.priority, "objectid": object_id}
    if simulated:
        extensions["simulated"] = "true"
    headers, value = pack(
        event,
        id=str(event.event_id),
        source=f"clinstream/{request.door}",
        subject=event.subject_id,
        time=now,
        traceparent=telemetry.new_traceparent(),
        extensions=extensions,
    )
    return event, Message(topics.OBSERVED_DICOM, event.study_id.encode(), headers, value)


def part_10(request: StoreRequest, header: Header) -> bytes | memoryview:
    """The data set, unchanged, as a PS3.10 file: preamble, prefix, group 0002 of our own (7.1), data set.

    Made in the request's own room where it has one, and a copy otherwise.
    """
    group = b"".join(
        (
            b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01",
            _meta(0x0002, b"UI", header.sop_class_uid),
            _meta(0x0003, b"UI", header.sop_instance_uid),
            _meta(0x0010, b"UI", request.transfer_syntax_uid),
            _meta(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _meta(0x0013, b"SH", "CLINSTREAM"),
        )
    )
    length = b"\x02\x00\x00\x00UL\x04\x00" + struct.pack("<I", len(group))
    head = b"".join((bytes(128), b"DICM", length, group))
    if request.room is None:
        return head + request.data
    starts = len(request.room) - len(request.data)
    request.room[starts - len(head) : starts] = head
    return request.room[starts - len(head) :]


def _meta(element: int, vr: bytes, value: str) -> bytes:
    """One short element of group 0002 in explicit VR little endian (PS3.5 7.1.2), padded to an even length."""
    raw = value.encode("ascii")
    raw += (b"\0" if vr == b"UI" else b" ") * (len(raw) % 2)
    return struct.pack("<HH2sH", 2, element, vr, len(raw)) + raw


def _mismatch(request: StoreRequest, header: Header) -> str:
    if request.sop_class_uid != header.sop_class_uid:
        return "the SOP Class UID differs between request and data set"
    if request.sop_instance_uid != header.sop_instance_uid:
        return "the SOP Instance UID differs between request and data set"
    return ""


def _aside(request: StoreRequest, key: bytes, now: datetime, table: Table, answer: Answer, error_class: str) -> Verdict:
    """What cannot be taken is kept all the same, so that nothing that came is silently gone; sealed where a row might
    have taken its identity off."""
    media_type, data = f"{MEDIA_TYPE}; transfer-syntax={request.transfer_syntax_uid}", bytes(request.data)
    facts = Facts(calling_ae=request.sender, called_ae=request.called)
    if data and table.deidentifies and table.may_deidentify(facts):
        media_type, data = media_type + sealing.MEDIA_TYPE_SUFFIX, sealing.seal(key, sealing.QUARANTINE, data)
    message, blob = put_aside(
        data,
        door=request.door,
        sender=request.sender,
        media_type=media_type,
        error_class=error_class,
        reason=answer.reason,
        now=now,
    )
    return Verdict(answer, message, (blob,), request.door)
