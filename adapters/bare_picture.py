"""A picture without anything but its pixels, upright: no EXIF, no place, no comment, no thumbnail, no profile.

An upright JPEG or PNG keeps its coded pixels byte for byte; one that a camera held otherwise is coded anew. The same
picture always gives the same bytes.
"""

import io
import struct
from collections.abc import Iterator
from typing import Final

from PIL import Image, ImageOps

from adapters import imaging
from schemas.errors import Unprocessable

JPEG_START: Final = b"\xff\xd8\xff"
PNG_START: Final = b"\x89PNG\r\n\x1a\n"
MAX_PIXELS = 25_000_000
"""Largest picture that a door decodes: 75 MB of colours. Otoscopes make 1 to 2 million pixels."""

QUALITY = 95

_SOS, _EOI, _APP14 = 0xDA, 0xD9, 0xEE
_STANDALONE = (0x01, *range(0xD0, 0xD8))
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_JFIF = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"


def form(data: bytes) -> str:
    """`image/jpeg` or `image/png` by the first bytes, not by a name; empty for anything else."""
    if data.startswith(JPEG_START):
        return "image/jpeg"
    return "image/png" if data.startswith(PNG_START) else ""


def bare(data: bytes) -> bytes:
    """The bytes to store of a JPEG or PNG; raises Unprocessable where it is neither, damaged, cut off or too large."""
    name = {"image/jpeg": "JPEG", "image/png": "PNG"}.get(form(data))
    if name is None:
        raise Unprocessable("not a picture: the bytes are neither JPEG nor PNG")
    rows, columns, _ = imaging.picture_size(data, (name,))
    if rows * columns > MAX_PIXELS:
        raise Unprocessable(f"the picture has {columns} x {rows} pixels, more than {MAX_PIXELS:,}")
    imaging.decode_picture(data, (name,))  # to the last pixel: what is cut off is refused now and not by a step
    turned = _turned(data, name)
    stripped = _jpeg(turned) if name == "JPEG" else _png(turned)
    imaging.picture_size(stripped, (name,))
    return stripped


def _turned(data: bytes, name: str) -> bytes:
    """The bytes as they are where the picture stands upright, else those of the picture turned."""
    with Image.open(io.BytesIO(data), formats=[name]) as opened:
        if opened.getexif().get(imaging.ORIENTATION, 1) not in range(2, 9):
            return data
        upright = ImageOps.exif_transpose(opened)
    for extra in ("exif", "icc_profile", "comment", "xmp", "dpi"):
        upright.info.pop(extra, None)
    file = io.BytesIO()
    if name == "JPEG":
        upright.save(file, "JPEG", quality=QUALITY, subsampling=0, exif=b"")
    else:
        upright.save(file, "PNG", exif=b"")
    return file.getvalue()


def _jpeg(data: bytes) -> bytes:
    """The segments that decode pixels (ITU-T T.81, B.1): tables, frame, scans, and how colours are meant."""
    kept = [b"\xff\xd8"]
    for marker, segment in _segments(data):
        if marker == 0xE0 and segment[4:9] == b"JFIF\0":
            kept.append(_JFIF)  # says YCbCr; its density and thumbnail go
        elif not (0xE0 <= marker <= 0xEF or marker == 0xFE) or (marker == _APP14 and segment[4:9] == b"Adobe"):
            kept.append(segment)
    return b"".join([*kept, b"\xff\xd9"])


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and bytes of every segment up to the end of the first image; a scan comes with its coded pixels."""
    place = 2
    while True:
        while data[place : place + 2] == b"\xff\xff":  # fill bytes (B.1.1.2)
            place += 1
        if place + 4 > len(data) or data[place] != 0xFF:
            # A decoder forgives a missing end; what follows a scan is looked for below, so nothing is lost here.
            return
        marker = data[place + 1]
        if marker == _EOI:
            return
        if marker in _STANDALONE:
            yield marker, data[place : place + 2]
            place += 2
            continue
        (length,) = struct.unpack(">H", data[place + 2 : place + 4])
        end = place + 2 + length
        if marker == _SOS:
            end = _end_of_scan(data, end)
        yield marker, data[place:end]
        place = end


def _end_of_scan(data: bytes, place: int) -> int:
    """Where coded pixels end: at the next marker that is neither a stuffed byte nor a restart."""
    while True:
        place = data.find(b"\xff", place)
        if place < 0 or place + 1 >= len(data):
            return len(data)
        following = data[place + 1]
        if following == 0xFF:
            place += 1
        elif following == 0 or 0xD0 <= following <= 0xD7:
            place += 2
        else:
            return place


def _png(data: bytes) -> bytes:
    """The chunks that decode pixels (PNG, third edition, 11.2 and tRNS), without those of text, time, EXIF, profile."""
    kept = [PNG_START]
    place = len(PNG_START)
    while place + 12 <= len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        kind = data[place + 4 : place + 8]
        end = place + 12 + length
        if kind in _PNG_KEPT:
            kept.append(data[place:end])
        place = end
        if kind == b"IEND":
            break
    return b"".join(kept)
