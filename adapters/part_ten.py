"""A PS3.10 file taken apart: what its group 0002 says of the data set, and the data set itself, byte for byte."""

import struct
from dataclasses import dataclass, field

from schemas.errors import Unprocessable

PREAMBLE = 128
LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"})
MEDIA_STORAGE_CLASS, MEDIA_STORAGE_INSTANCE, TRANSFER_SYNTAX = 0x0002, 0x0003, 0x0010


@dataclass(frozen=True, slots=True)
class File:
    """The three UIDs of group 0002 (empty where absent) and everything after it."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data: bytes = field(repr=False)


def take_apart(content: bytes) -> File:
    """Reads group 0002, which is explicit VR little endian whatever follows (PS3.10 7.1).

    Raises Unprocessable for bytes that are no such file.
    """
    if content[PREAMBLE : PREAMBLE + 4] != b"DICM":
        raise Unprocessable("not a DICOM file: the DICM prefix after 128 bytes is missing")
    found: dict[int, str] = {}
    at = PREAMBLE + 4
    while content[at : at + 2] == b"\x02\x00":
        element, length, at = _element(content, at)
        if at + length > len(content):
            raise Unprocessable("the file ends within its file meta information")
        if element in (MEDIA_STORAGE_CLASS, MEDIA_STORAGE_INSTANCE, TRANSFER_SYNTAX):
            found[element] = content[at : at + min(length, 64)].rstrip(b"\0 ").decode("latin-1")
        at += length
    if not found.get(TRANSFER_SYNTAX):
        raise Unprocessable("the file names no transfer syntax (0002,0010)")
    return File(
        found.get(MEDIA_STORAGE_CLASS, ""), found.get(MEDIA_STORAGE_INSTANCE, ""), found[TRANSFER_SYNTAX], content[at:]
    )


def _element(content: bytes, at: int) -> tuple[int, int, int]:
    """(element number, length of its value, where the value begins)."""
    try:
        element, vr, short = struct.unpack_from("<H2sH", content, at + 2)
        if vr not in LONG:
            return element, short, at + 8
        (length,) = struct.unpack_from("<I", content, at + 8)
    except struct.error:
        raise Unprocessable("the file ends within its file meta information") from None
    return element, length, at + 12
