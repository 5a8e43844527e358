"""WADO-RS (PS3.18 10.4): stored objects as they were sent, their metadata, their frames and a rendered picture."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from adapters.database.instances import Located, Match
from adapters.pixels import BlobStore
from producers import dicom_json
from producers.dicomweb_access import Access
from producers.dicomweb_search import BY_WHOM, Archive
from producers.related_parts import parameters
from producers.replies import ERROR, Early, answered
from schemas.errors import MissingObject, Unavailable, Unprocessable

T = TypeVar("T")

OBJECT = "application/dicom"
OCTETS = "application/octet-stream"
MOST_FRAMES = 1000
PICTURES = {"image/jpeg": "JPEG", "image/png": "PNG"}
ANY = frozenset({"", "*/*", "image/*"})
AT_WORK = 2
"""Pictures rendered at once: a large one takes 150 MB meanwhile."""


def add(app: FastAPI, archive: Archive, store: BlobStore, access: Access) -> None:
    """Adds the retrievals to the application."""
    readers = ThreadPoolExecutor(AT_WORK, thread_name_prefix="wado")

    async def find(request: Request, *uids: str) -> list[Located]:
        access.require_retrieval(request)
        return await _find(archive, uids)

    async def objects(request: Request, *uids: str) -> Response:
        found = await find(request, *uids)
        _require_as_stored(request, found)
        return _related(store, found)

    async def metadata(request: Request, *uids: str) -> Response:
        found = await find(request, *uids)
        return StreamingResponse(_metadata(store, readers, found), media_type=dicom_json.MEDIA_TYPE)

    async def rendered(request: Request, frame: int, *uids: str) -> Response:
        form = _picture_form(request)
        (found,) = await find(request, *uids)
        return await _rendered(store, readers, found, frame, form)

    @app.get("/studies/{study}", responses=RESPONSES, summary="A study's objects")
    async def of_study(study: str, request: Request) -> Response:
        """WADO-RS."""
        return await answered("dicomweb", objects(request, study))

    @app.get("/studies/{study}/series/{series}", responses=RESPONSES, summary="A series' objects")
    async def of_series(study: str, series: str, request: Request) -> Response:
        """WADO-RS."""
        return await answered("dicomweb", objects(request, study, series))

    async def frames(request: Request, asked: str, *uids: str) -> Response:
        numbers = _frame_numbers(asked)
        _require_octets(request)
        (found,) = await find(request, *uids)
        return await _frames(store, readers, found, numbers)

    @app.get(f"{INSTANCE}/frames/{{asked}}", responses=RESPONSES, summary="Frames of an object")
    async def frames_of_instance(study: str, series: str, instance: str, asked: str, request: Request) -> Response:
        """WADO-RS: numbers from 1, separated by commas; as they are encoded in the object."""
        return await answered("dicomweb", frames(request, asked, study, series, instance))

    @app.get(INSTANCE, responses=RESPONSES, summary="One object")
    async def of_instance(study: str, series: str, instance: str, request: Request) -> Response:
        """WADO-RS."""
        return await answered("dicomweb", objects(request, study, series, instance))

    @app.get("/studies/{study}/metadata", responses=RESPONSES, summary="A study's headers")
    async def metadata_of_study(study: str, request: Request) -> Response:
        """WADO-RS."""
        return await answered("dicomweb", metadata(request, study))

    @app.get("/studies/{study}/series/{series}/metadata", responses=RESPONSES, summary="A series' headers")
    async def metadata_of_series(study: str, series: str, request: Request) -> Response:
        """WADO-RS."""
        return await answered("dicomweb", metadata(request, study, series))

    @app.get(f"{INSTANCE}/metadata", responses=RESPONSES, summary="One object's header")
    async def metadata_of_instance(study: str, series: str, instance: str, request: Request) -> Response:
        """WADO-RS."""
        return await answered("dicomweb", metadata(request, study, series, instance))

    @app.get(f"{INSTANCE}/rendered", responses=RESPONSES, summary="One object as a picture")
    async def rendered_instance(study: str, series: str, instance: str, request: Request) -> Response:
        """WADO-RS: the first frame."""
        return await answered("dicomweb", rendered(request, 1, study, series, instance))

    @app.get(f"{INSTANCE}/frames/{{frame}}/rendered", responses=RESPONSES, summary="One frame as a picture")
    async def rendered_frame(study: str, series: str, instance: str, frame: int, request: Request) -> Response:
        """WADO-RS."""
        return await answered("dicomweb", rendered(request, frame, study, series, instance))


INSTANCE = "/studies/{study}/series/{series}/instances/{instance}"


async def _find(archive: Archive, uids: Sequence[str]) -> list[Located]:
    columns = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")
    matches = [Match(column, "exact", (uid,)) for column, uid in zip(columns, uids, strict=False)]
    try:
        found = await archive.locate(matches, by_whom=BY_WHOM)
    except Unavailable as away:
        raise Early(503, str(away)) from away
    if not found:
        raise Early(404, "nothing is stored under this address")
    return found


def _require_as_stored(request: Request, found: Sequence[Located]) -> None:
    """Objects go out in the transfer syntax in which they came; a caller that wants another one is told so."""
    wanted = request.headers.get("accept", "")
    if not wanted.strip():
        return
    for each in wanted.split(","):
        kind, more = parameters(each.strip())
        if kind not in ("multipart/related", "multipart/*", "*/*"):
            continue
        if more.get("type", OBJECT).lower() not in (OBJECT, "*/*"):
            continue
        syntax = more.get("transfer-syntax", "*")
        if syntax == "*" or all(syntax == one.transfer_syntax_uid for one in found):
            return
    raise Early(406, f'objects are sent as stored: accept multipart/related; type="{OBJECT}"; transfer-syntax=*')


def _frame_numbers(asked: str) -> list[int]:
    numbers = asked.split(",")
    if len(numbers) > MOST_FRAMES or not all(each.isdecimal() and 0 < len(each) < 8 for each in numbers):
        raise Early(400, f"frames are at most {MOST_FRAMES} numbers from 1, separated by commas")
    return [int(each) for each in numbers]


def _require_octets(request: Request) -> None:
    wanted = request.headers.get("accept", "")
    for each in wanted.split(",") if wanted.strip() else ["*/*"]:
        kind, more = parameters(each.strip())
        if kind == "*/*" or (kind.startswith("multipart/") and more.get("type", OCTETS) in (OCTETS, "*/*")):
            return
    raise Early(406, f'frames are sent as encoded: accept multipart/related; type="{OCTETS}"; transfer-syntax=*')


async def _frames(store: BlobStore, readers: ThreadPoolExecutor, found: Located, numbers: Sequence[int]) -> Response:
    try:
        data = await store.get(found.blob_uri)
        syntax, encoded = await _in(readers, lambda: _encoded(data, numbers))
    except (Unavailable, MissingObject) as away:
        raise Early(503, "the object cannot be read now") from away
    except LookupError as absent:
        raise Early(404, str(absent)) from absent
    except Unprocessable as refused:
        raise Early(406, str(refused)) from refused
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: {OCTETS}; transfer-syntax={syntax}\r\n\r\n".encode()
    body = b"".join((*(part for frame in encoded for part in (head, frame, b"\r\n")), f"--{boundary}--\r\n".encode()))
    return Response(body, media_type=f'multipart/related; type="{OCTETS}"; boundary={boundary}')


def _related(store: BlobStore, found: Sequence[Located]) -> Response:
    boundary = secrets.token_hex(16)

    async def body() -> AsyncIterator[bytes]:
        for each in found:
            head = f"--{boundary}\r\nContent-Type: {OBJECT}; transfer-syntax={each.transfer_syntax_uid}\r\n\r\n"
            yield head.encode()
            # What cannot be read ends the answer without its closing boundary: nobody takes it for whole.
            yield await store.get(each.blob_uri)
            yield b"\r\n"
        yield f"--{boundary}--\r\n".encode()

    return StreamingResponse(body(), media_type=f'multipart/related; type="{OBJECT}"; boundary={boundary}')


async def _metadata(store: BlobStore, readers: ThreadPoolExecutor, found: Sequence[Located]) -> AsyncIterator[bytes]:
    yield b"["
    for number, each in enumerate(found):
        data = await store.get(each.blob_uri)
        header = await _in(readers, lambda data=data: _header(data))  # type: ignore[misc]
        yield (b"," if number else b"") + header
    yield b"]"


def _encoded(data: bytes, numbers: Sequence[int]) -> tuple[str, list[bytes]]:
    from adapters.dicom_encoded_frames import encoded_frames  # pydicom, which only retrievals need

    return encoded_frames(data, numbers)


def _header(data: bytes) -> bytes:
    from adapters.dicom_header import as_json  # pydicom, which only retrievals need

    return msgspec.json.encode(as_json(data))


async def _rendered(store: BlobStore, readers: ThreadPoolExecutor, found: Located, frame: int, form: str) -> Response:
    if frame != 1:
        raise Early(404, "only the first frame is rendered")
    try:
        data = await store.get(found.blob_uri)
        picture = await _in(readers, lambda: _picture(data, form))
    except (Unavailable, MissingObject) as away:
        raise Early(503, "the object cannot be read now") from away
    except Unprocessable as refused:
        raise Early(406, str(refused)) from refused
    return Response(picture, media_type=next(kind for kind, name in PICTURES.items() if name == form))


def _picture(data: bytes, form: str) -> bytes:
    from adapters.dicom_header import render  # the decoders, 60 MB, only where somebody looks

    return render(data, form)


def _picture_form(request: Request) -> str:
    wanted = request.query_params.get("accept") or request.headers.get("accept", "")
    for each in wanted.split(",") if wanted else [""]:
        kind = each.partition(";")[0].strip().lower()
        if kind in PICTURES:
            return PICTURES[kind]
        if kind in ANY:
            return "JPEG"
    raise Early(406, "a picture is image/jpeg or image/png")


async def _in(readers: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(readers, work)


RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "What is stored"},
    401: {"description": "The token is missing or wrong", "content": ERROR},
    403: {"description": "Not from other machines without a token", "content": ERROR},
    404: {"description": "Nothing is stored under this address, or retrievals are closed", "content": ERROR},
    406: {"description": "Not in this form", "content": ERROR},
    503: {"description": "Database or store is away: try again after Retry-After", "content": ERROR},
}
