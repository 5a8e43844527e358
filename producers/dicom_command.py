"""C-STORE on the wire: the command set of a request read, a response written (PS3.7 6.3.1, 9.3.1; PS3.8 9.3.5).

pynetdicom does the same by way of several objects an element; whatever is unusual about a request is left to it.
"""

import re
import struct
from dataclasses import dataclass
from typing import Final

C_STORE_RQ: Final = 0x0001
C_STORE_RSP: Final = 0x8001
NO_DATA_SET: Final = 0x0101
COMMENT_LENGTH: Final = 64

_UID: Final = re.compile(rb"[0-9.]{1,64}")
_GROUP_LENGTH, _SOP_CLASS, _COMMAND, _MESSAGE_ID, _ANSWERED_ID = 0x0000, 0x0002, 0x0100, 0x0110, 0x0120
_PRIORITY, _DATA_SET_TYPE, _STATUS, _COMMENT, _SOP_INSTANCE = 0x0700, 0x0800, 0x0900, 0x0902, 0x1000
_MOVER, _MOVE_ID = 0x1030, 0x1031
_NUMBERS: Final = (_COMMAND, _MESSAGE_ID, _PRIORITY, _DATA_SET_TYPE)
_KNOWN: Final = frozenset({*_NUMBERS, _GROUP_LENGTH, _SOP_CLASS, _SOP_INSTANCE, _MOVER, _MOVE_ID})


@dataclass(frozen=True, slots=True)
class StoreCommand:
    """A C-STORE-RQ that announces a data set."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    priority: int


def read_store_request(command: bytes) -> StoreCommand | None:
    """What a command set asks; None for any other than a plain C-STORE-RQ with a data set."""
    found = _elements(command)
    if found is None or any(len(found.get(number, b"")) != 2 for number in _NUMBERS):
        return None
    asked, message_id, priority, data_set = (int.from_bytes(found[number], "little") for number in _NUMBERS)
    kind, instance = (found.get(uid, b"").rstrip(b"\0 ") for uid in (_SOP_CLASS, _SOP_INSTANCE))
    if asked != C_STORE_RQ or data_set == NO_DATA_SET or priority > 2:
        return None
    if not _UID.fullmatch(kind) or not _UID.fullmatch(instance):
        return None
    return StoreCommand(message_id, kind.decode(), instance.decode(), priority)


def store_response(context_id: int, asked: StoreCommand, status: int, comment: str) -> bytes:
    """A whole P-DATA-TF PDU with the C-STORE-RSP; `comment` is Error Comment (0000,0902), cut to what it may have."""
    elements = [
        _uid(_SOP_CLASS, asked.sop_class_uid),
        _number(_COMMAND, C_STORE_RSP),
        _number(_ANSWERED_ID, asked.message_id),
        _number(_DATA_SET_TYPE, NO_DATA_SET),
        _number(_STATUS, status),
    ]
    if comment:
        text = comment[:COMMENT_LENGTH].encode("ascii", "replace")
        elements.append(_element(_COMMENT, text + b" " * (len(text) % 2)))
    elements.append(_uid(_SOP_INSTANCE, asked.sop_instance_uid))
    body = b"".join(elements)
    command = _element(_GROUP_LENGTH, struct.pack("<I", len(body))) + body
    # One presentation data value: a command, its last fragment (PS3.8 E.2).
    return struct.pack(">BxIIBB", 4, len(command) + 6, len(command) + 2, context_id, 3) + command


def _elements(command: bytes) -> dict[int, bytes] | None:
    """The values by element number; None where there is anything that a C-STORE-RQ does not have."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 8 <= len(command):
        group, element, length = struct.unpack_from("<HHI", command, at)
        at += 8
        if group or element not in _KNOWN or at + length > len(command):
            return None
        found[element] = command[at : at + length]
        at += length
    return found if at == len(command) else None


def _element(element: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, element, len(value)) + value


def _number(element: int, value: int) -> bytes:
    return _element(element, value.to_bytes(2, "little"))


def _uid(element: int, uid: str) -> bytes:
    return _element(element, uid.encode() + b"\0" * (len(uid) % 2))
