"""Otoscope pictures over HTTP on fakes: upright, bare, bounded, one event for a repeat (S1, CC11)."""

import asyncio
import io
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from adapters import bare_picture, imaging
from producers import otoscope
from schemas import ids, topics
from schemas.errors import Unprocessable
from schemas.events import ImageObserved
from tests.support.http_door import KEY, Client, at_the_door

GPS, ORIENTATION = 0x8825, 0x0112
UPRIGHT = np.zeros((32, 48, 3), dtype=np.uint8)
UPRIGHT[:16, :16], UPRIGHT[:16, 16:], UPRIGHT[16:, :16], UPRIGHT[16:, 16:] = (
    (250, 20, 20),
    (20, 250, 20),
    (20, 20, 250),
    (250, 250, 20),
)
# How a camera that was held so stores an upright picture: the inverse of what each EXIF orientation asks for.
HELD: dict[int, Any] = {
    1: lambda p: p,
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.transpose(1, 0, 2),
    6: lambda p: np.rot90(p, 1),
    7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
    8: lambda p: np.rot90(p, -1),
}


@pytest.fixture
async def room() -> AsyncIterator[Client]:
    """An examination room."""
    async with at_the_door() as found:
        yield found


def picture(form: str = "JPEG", orientation: int | None = None, *, place: bool = False, **more: Any) -> bytes:
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    if place:
        exif[0x010F] = "Secret Maker"
        exif.get_ifd(GPS)[1] = "N"
        exif.get_ifd(GPS)[2] = (48.0, 8.0, 12.0)
    file = io.BytesIO()
    stored = Image.fromarray(np.ascontiguousarray(HELD[orientation or 1](UPRIGHT)))
    if form == "JPEG":
        more = {"quality": 95, "subsampling": 0, **more}
    stored.save(file, form, exif=exif, **more)
    return file.getvalue()


async def upload(room: Client, image: bytes | None, *, boundary: str = "", **fields: str) -> httpx.Response:
    data = {"subject": "P 1", "laterality": "left", **fields}
    files = {"image": ("ear.jpg", image, "image/jpeg")} if image is not None else {"other": ("x", b"", "a/b")}
    return await room.client.post(
        "/v1/otoscope", data={name: value for name, value in data.items() if value}, files=files
    )


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


async def test_a_picture_becomes_one_event_with_its_side_and_its_stored_bytes(room: Client) -> None:
    answer = await upload(room, picture(), issuer="practice", device="scope 3", stat="true")
    assert answer.status_code == 200
    (event,) = room.events(topics.OBSERVED_OTOSCOPE, ImageObserved)
    subject = ids.subject_id(KEY, "practice", "P 1")
    stored = await room.blobs.get(event.blob.uri)
    sha256 = ids.sha256_hex(stored)
    assert event.blob.sha256 == sha256
    assert (event.blob.media_type, event.blob.size_bytes) == ("image/jpeg", len(stored))
    assert event.object_id == ids.upload_object_id(subject, "left", sha256)
    assert event.event_id == ids.event_id(event.object_id, sha256)
    assert (event.subject_id, event.modality, event.laterality, event.device) == (subject, "XC", "left", "scope 3")
    assert answer.json() == {"event_id": str(event.event_id), "object_id": event.object_id}
    (message,) = room.publisher.topics[topics.OBSERVED_OTOSCOPE]
    headers = dict(message.headers)
    assert message.key == event.study_id.encode()
    assert headers["ce_priority"] == b"stat"
    assert headers["ce_objectid"] == event.object_id.encode()
    assert b"P 1" not in message.value


async def test_a_repeat_is_the_same_event_and_the_other_ear_or_a_rehearsal_another(room: Client) -> None:
    answers = [
        await upload(room, picture(), **fields)
        for fields in ({}, {"device": "another", "stat": "1"}, {"laterality": "right"}, {"simulated": "true"})
    ]
    first, again, right, made = (answer.json()["event_id"] for answer in answers)
    assert first == again
    assert len({first, right, made}) == 3
    event = room.events(topics.OBSERVED_OTOSCOPE, ImageObserved)[3]
    assert event.simulated
    assert event.object_id.startswith(ids.SIMULATED)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_however_the_camera_was_held_what_is_stored_stands_upright(form: str, orientation: int) -> None:
    stored = bare_picture.bare(picture(form, orientation))
    shown = pixels(stored)
    assert shown.shape == UPRIGHT.shape
    if form == "PNG":
        assert (shown == UPRIGHT).all()
    else:
        assert abs(shown - UPRIGHT).mean() < 4
    assert Image.open(io.BytesIO(stored)).getexif().get(ORIENTATION) is None


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_nothing_but_pixels_is_stored(form: str, orientation: int) -> None:
    more: dict[str, Any] = {"comment": b"secret comment"} if form == "JPEG" else {}
    data = picture(form, orientation, place=True, icc_profile=b"secret profile", **more)
    if form == "PNG":
        text = b"tEXtAuthor\0secret author"
        data = data[:33] + struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text)) + data[33:]
    data += b"secret tail"
    assert b"Secret Maker" in data
    stored = bare_picture.bare(data)
    assert b"ecret" not in stored
    opened = Image.open(io.BytesIO(stored))
    assert not opened.getexif()
    assert not {"exif", "icc_profile", "comment", "Author", "xmp"} & set(opened.info)
    assert bare_picture.bare(stored) == stored, "what is bare stays as it is"
    assert bare_picture.bare(data) == stored


@pytest.mark.parametrize("more", [{}, {"progressive": True}, {"subsampling": 2, "restart_marker_blocks": 1}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_an_upright_jpeg_keeps_its_pixels_exactly(mode: str, more: dict[str, Any]) -> None:
    file = io.BytesIO()
    noise = np.random.default_rng(3).integers(0, 255, (60, 70, 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(file, "JPEG", comment=b"c" * 99, **more)
    assert (pixels(bare_picture.bare(file.getvalue())) == pixels(file.getvalue())).all()


def test_a_palette_with_transparency_keeps_its_pixels() -> None:
    file = io.BytesIO()
    Image.fromarray(UPRIGHT).quantize(4).save(file, "PNG", transparency=0)
    data = file.getvalue()
    assert (imaging.decode_picture(bare_picture.bare(data)).stored == imaging.decode_picture(data).stored).all()


def bomb() -> bytes:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    return bare_picture.PNG_START + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@pytest.mark.parametrize(
    ("image", "status", "reason"),
    [
        (b"GIF89a secret", 415, "neither JPEG nor PNG"),
        (b"", 415, "neither JPEG nor PNG"),
        (picture()[:400], 422, "damaged"),
        (picture("PNG")[:80], 422, "damaged"),
        (b"\xff\xd8\xff" + bytes(100), 422, "picture"),
        (bomb(), 422, "pixels"),
    ],
)
async def test_what_is_no_whole_picture_is_refused_with_its_reason_and_kept_aside(
    room: Client, image: bytes, status: int, reason: str
) -> None:
    answer = await upload(room, image)
    assert answer.status_code == status
    assert reason in answer.json()["error"]
    (letter,) = room.publisher.topics[topics.DEAD_UNPROCESSABLE]
    assert reason in dict(letter.headers)["dead_reason"].decode()
    assert topics.OBSERVED_OTOSCOPE not in room.publisher.topics
    assert (await upload(room, picture())).status_code == 200


def test_a_picture_with_more_pixels_than_a_door_decodes_is_refused() -> None:
    file = io.BytesIO()
    Image.new("1", (6000, 5000)).save(file, "PNG")
    with pytest.raises(Unprocessable, match="6000 x 5000"):
        bare_picture.bare(file.getvalue())


@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        ({"laterality": ""}, 422, "laterality is required"),
        ({"laterality": "both"}, 422, "laterality is required"),
        ({"subject": ""}, 422, "subject is required"),
        ({"subject": "s" * 129}, 422, "subject"),
        ({"stat": "perhaps"}, 422, "stat"),
        ({"patient_name": "x"}, 422, "unknown fields"),
    ],
)
async def test_a_form_that_lacks_something_is_told_what(
    room: Client, fields: dict[str, str], status: int, reason: str
) -> None:
    answer = await upload(room, picture(), **fields)
    assert answer.status_code == status
    assert reason in answer.json()["error"]
    assert not room.publisher.topics


async def test_other_bodies_too_large_ones_and_none_are_refused(room: Client) -> None:
    assert (await upload(room, None)).status_code == 422
    assert (await room.post("/v1/otoscope", b"{}")).status_code == 415
    assert (await room.post("/v1/otoscope", b"x", content_type="multipart/form-data")).status_code == 400
    headers = {"content-type": "multipart/form-data; boundary=b"}
    assert (await room.client.post("/v1/otoscope", content=b"no form", headers=headers)).status_code in (400, 422)
    large = b"\xff\xd8\xff" + bytes(otoscope.MAX_IMAGE_BYTES)
    assert (await upload(room, large)).status_code == 413
    assert not room.publisher.topics


async def test_a_broker_that_is_away_means_503(room: Client) -> None:
    room.publisher.away = True
    answer = await upload(room, picture())
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1


async def test_more_uploads_than_fit_into_memory_are_told_to_come_again(room: Client) -> None:
    answers = await asyncio.gather(*(upload(room, picture(), subject=f"P{number}") for number in range(12)))
    statuses = [answer.status_code for answer in answers]
    assert statuses.count(200) >= 8
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) == len(room.events(topics.OBSERVED_OTOSCOPE, ImageObserved))
    assert (await upload(room, picture())).status_code == 200
