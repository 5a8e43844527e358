"""STOW-RS (PS3.18 10.5): objects stored over HTTP, by the same rules and with the same identities as by C-STORE."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import msgspec
from fastapi import FastAPI, Request, Response

from adapters import telemetry
from adapters.clock import Clock
from adapters.part_ten import File, take_apart
from producers import dicom_json
from producers.dicom_identity import read_header
from producers.dicom_json import Item
from producers.dicomweb_access import Access
from producers.door import Door
from producers.related_parts import Broken, Part, PartTooLarge, parameters, parts
from producers.replies import ERROR, Early, answered, error
from producers.store_request import (
    ACCEPTED,
    BUILT_IN_TABLE,
    CANNOT_UNDERSTAND,
    DOES_NOT_MATCH,
    OUT_OF_RESOURCES,
    Answer,
    StoreRequest,
    judge,
    settle,
    try_again,
)
from schemas.errors import RejectedInput
from schemas.routing import Table

log = telemetry.logger("door.dicomweb")

SENDER = "STOW-RS"
DOOR = "door-http"
PART = "application/dicom"
MAX_PART_BYTES = 1 << 29
"""Bytes of one object: it is held in memory, about three times over, while it is read and stored."""

REQUESTS_AT_WORK = 4
PARTS_AT_WORK = 8
BYTES_AT_WORK = 64 << 20
"""Of one request: parts beyond these are left in the sender's hands until earlier ones are durable."""

READERS = 2


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of one part; the UIDs are empty where they could not be read."""

    answer: Answer
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    study_instance_uid: str = ""

    @property
    def kept(self) -> bool:
        """Whether the object is stored, with or without a warning."""
        return self.answer.status == ACCEPTED or self.answer.status >> 12 == 0xB


@dataclass(slots=True)
class Intake:
    """One request under way: where its parts go, and what became of them in their order."""

    door: Door
    key: bytes
    clock: Clock
    readers: ThreadPoolExecutor
    study: str
    table: Table = BUILT_IN_TABLE
    stored: dict[int, Stored] = field(default_factory=dict)
    stuck: Answer | None = None

    async def take(self, number: int, part: Part) -> None:
        """Stores one part. Once broker or store did not answer, the rest is told to come again without trying."""
        if self.stuck is not None:
            self.stored[number] = _failed(self.stuck, part)
            return
        self.stored[number] = await self._take(part)
        if self.stored[number].answer.status == OUT_OF_RESOURCES:
            self.stuck = self.stored[number].answer

    async def _take(self, part: Part) -> Stored:
        try:
            work = asyncio.get_running_loop().run_in_executor(self.readers, self._judged, part)
            request, found, verdict = await work
            if verdict is None:
                return found
            answer = await settle(verdict, self.door)
            return Stored(answer, request.sop_class_uid, request.sop_instance_uid, found.study_instance_uid)
        except Exception:  # as in the DICOM door: this object is to come again and its neighbours notice nothing
            log.exception("a part was not handled")
            return Stored(try_again("the door could not handle the object"))

    def _judged(self, part: Part) -> tuple[StoreRequest, Stored, Any]:
        """Reads and decides; without a verdict the object is refused and nothing of it is kept."""
        try:
            file = take_apart(part.content)
        except RejectedInput:
            # Kept aside by the same rules: as a data set that cannot be understood.
            request = _request(File("", "", "", part.content))
            return request, Stored(Answer(CANNOT_UNDERSTAND)), judge(request, self.key, self.clock.now(), self.table)
        study = ""
        try:
            header = read_header(file.data, file.transfer_syntax_uid)
            study = header.study_instance_uid
            # A file may leave out what its data set says too (a C-STORE request may not).
            file = File(
                file.sop_class_uid or header.sop_class_uid,
                file.sop_instance_uid or header.sop_instance_uid,
                file.transfer_syntax_uid,
                file.data,
            )
        except RejectedInput:
            pass  # judged again below, which says the same and keeps the bytes aside
        request = _request(file)
        found = Stored(Answer(ACCEPTED), file.sop_class_uid, file.sop_instance_uid, study)
        if self.study and study and study != self.study:
            refused = Answer(DOES_NOT_MATCH, "the object is of another study than the request")
            return request, Stored(refused, file.sop_class_uid, file.sop_instance_uid, study), None
        return request, found, judge(request, self.key, self.clock.now(), self.table)


def add(app: FastAPI, door: Door, key: bytes, clock: Clock, access: Access, table: Table = BUILT_IN_TABLE) -> None:
    """Adds the two routes to the application."""
    readers = ThreadPoolExecutor(READERS, thread_name_prefix="stow")
    at_work = asyncio.BoundedSemaphore(REQUESTS_AT_WORK)

    async def store(request: Request, study: str) -> Response:
        access.require(request)
        if at_work.locked():
            raise Early(503, "too many requests at once")
        async with at_work:
            return await _store(request, Intake(door, key, clock, readers, study, table))

    @app.post("/studies", openapi_extra={"requestBody": BODY}, responses=RESPONSES, summary="Store DICOM objects")
    async def store_anywhere(request: Request) -> Response:
        """STOW-RS: an object named in Referenced SOP Sequence is on disk and all in-sync brokers have its event."""
        return await answered("dicomweb", store(request, ""))

    @app.post(
        "/studies/{study}",
        openapi_extra={"requestBody": BODY},
        responses=RESPONSES,
        summary="Store DICOM objects of one study",
    )
    async def store_study(study: str, request: Request) -> Response:
        """STOW-RS: objects of another study are refused."""
        return await answered("dicomweb", store(request, study))


async def _store(request: Request, intake: Intake) -> Response:
    boundary = _boundary(request)
    refusal = intake.door.why_refuse()
    if refusal is not None:
        raise Early(503, str(refusal))
    try:
        async with aclosing(parts(request.stream(), boundary, MAX_PART_BYTES)) as body:
            await _take_all(intake, body)
    except PartTooLarge as refused:
        raise Early(413, f"an object has at most {MAX_PART_BYTES:,} bytes") from refused
    except Broken as broken:
        if not intake.stored:
            raise Early(400, "the body is not a whole multipart body") from broken
        # Nobody may take it for done: the sender repeats it, and what was stored is recognised.
        raise Early(400, f"the body is cut off; {_count(intake)} objects before that were stored") from broken
    if not intake.stored:
        raise Early(400, "the body has no parts")
    return _answer(request, intake)


def _boundary(request: Request) -> str:
    kind, found = parameters(request.headers.get("content-type", ""))
    wanted = found.get("type", "").lower()
    if kind != "multipart/related" or wanted != PART:
        raise Early(415, f'send multipart/related; type="{PART}"')
    if not found.get("boundary"):
        raise Early(400, "the content type names no boundary")
    return found["boundary"]


async def _take_all(intake: Intake, body: AsyncIterator[Part]) -> None:
    """Several parts are on their way to disk and broker while the next one arrives; their bytes are bounded."""
    at_work: dict[asyncio.Task[None], int] = {}
    number = 0
    try:
        async for part in body:
            if part.media_type != PART:
                raise Early(415, f"each part is {PART}")
            size = len(part.content)
            while at_work and (len(at_work) >= PARTS_AT_WORK or sum(at_work.values()) + size > BYTES_AT_WORK):
                done, _ = await asyncio.wait(at_work, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    del at_work[task]
            at_work[asyncio.ensure_future(intake.take(number, part))] = size
            number += 1
    finally:
        # What was begun is finished, also when the body is cut off: the counts in the answer are true.
        if at_work:
            await asyncio.wait(at_work)


def _request(file: File) -> StoreRequest:
    return StoreRequest(
        data=file.data,
        transfer_syntax_uid=file.transfer_syntax_uid,
        sop_class_uid=file.sop_class_uid,
        sop_instance_uid=file.sop_instance_uid,
        priority=None,
        sender=SENDER,
        called="",
        door=DOOR,
    )


def _failed(answer: Answer, part: Part) -> Stored:
    try:
        file = take_apart(part.content)
    except RejectedInput:
        return Stored(answer)
    return Stored(answer, file.sop_class_uid, file.sop_instance_uid)


def _count(intake: Intake) -> int:
    return sum(each.kept for each in intake.stored.values())


def _answer(request: Request, intake: Intake) -> Response:
    """200 all stored, 202 some failed or with warnings, 409 none stored, 503 none and all of them may come again."""
    outcomes = [intake.stored[number] for number in sorted(intake.stored)]
    kept = [each for each in outcomes if each.kept]
    if not kept and intake.stuck and all(each.answer.status == OUT_OF_RESOURCES for each in outcomes):
        return error(503, intake.stuck.reason)
    warned = any(each.answer.status != ACCEPTED for each in outcomes)
    status = 409 if not kept else 202 if warned else 200
    body = msgspec.json.encode(_told(_base(request), outcomes))
    return Response(body, status_code=status, media_type=dicom_json.MEDIA_TYPE)


def _base(request: Request) -> str:
    return f"{str(request.base_url).rstrip('/')}/studies"


def _told(base: str, outcomes: list[Stored]) -> Item:
    """The Store Instances Response Module (PS3.18 I.2)."""
    found: Item = {}
    studies = {each.study_instance_uid for each in outcomes if each.kept and each.study_instance_uid}
    dicom_json.put(found, "RetrieveURL", [f"{base}/{study}" for study in studies] if len(studies) == 1 else [])
    kept, failed, others = [], [], []
    for each in outcomes:
        named = dicom_json.item(
            ReferencedSOPClassUID=each.sop_class_uid, ReferencedSOPInstanceUID=each.sop_instance_uid
        )
        if not each.kept:
            dicom_json.put(named, "FailureReason", [each.answer.status])
            if each.sop_instance_uid:
                failed.append(named)
            else:
                others.append(dicom_json.item(FailureReason=each.answer.status))
            continue
        if each.answer.status != ACCEPTED:
            dicom_json.put(named, "WarningReason", [each.answer.status])
        kept.append(named)
    for keyword, items in (
        ("ReferencedSOPSequence", kept),
        ("FailedSOPSequence", failed),
        ("OtherFailuresSequence", others),
    ):
        if items:
            dicom_json.put(found, keyword, items)
    return found


BODY: dict[str, Any] = {
    "required": True,
    "content": {f'multipart/related; type="{PART}"': {"schema": {"type": "string", "format": "binary"}}},
}
_MODULE = {dicom_json.MEDIA_TYPE: {"schema": {"type": "object"}}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "All objects are stored", "content": _MODULE},
    202: {"description": "Some are stored; Failed SOP Sequence names the others", "content": _MODULE},
    400: {"description": "No multipart body, or it is cut off", "content": ERROR},
    401: {"description": "The token is missing or wrong", "content": ERROR},
    403: {"description": "Not from other machines without a token", "content": ERROR},
    409: {"description": "None is stored; Failed SOP Sequence says why", "content": _MODULE},
    413: {"description": f"An object of more than {MAX_PART_BYTES} bytes", "content": ERROR},
    415: {"description": f"Not multipart/related of {PART}", "content": ERROR},
    503: {"description": "Broker, store or disk cannot take it: try again after Retry-After", "content": ERROR},
}
