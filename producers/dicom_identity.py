"""What the DICOM door has to know of a data set: who and what it is, what it is routed by, and whether it was made up.

Only the header is read, from bytes, stopping before the pixels (PS3.5 7.1 orders elements by tag); nothing is
decoded and nothing is sent from here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO

from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from adapters import dicom_encoding
from schemas import ids
from schemas.errors import Unprocessable
from schemas.routing import Facts

SPECIFIC_CHARACTER_SET = 0x00080005
SOP_CLASS_UID = 0x00080016
SOP_INSTANCE_UID = 0x00080018
MODALITY = 0x00080060
PATIENT_ID = 0x00100020
ISSUER_OF_PATIENT_ID = 0x00100021
CONTRIBUTING_EQUIPMENT = 0x0018A001
CONTRIBUTION_DESCRIPTION = 0x0018A003
STUDY_INSTANCE_UID = 0x0020000D
REQUEST_ATTRIBUTES = 0x00400275
REQUESTED_PROCEDURE_PRIORITY = 0x00401003
PIXEL_GROUP = 0x7FE0

WANTED = [
    SPECIFIC_CHARACTER_SET,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    MODALITY,
    PATIENT_ID,
    ISSUER_OF_PATIENT_ID,
    CONTRIBUTING_EQUIPMENT,
    STUDY_INSTANCE_UID,
    REQUEST_ATTRIBUTES,
    REQUESTED_PROCEDURE_PRIORITY,
]

WRAPPED_MARK = "clinstream: plain picture wrapped as DX"
SIMULATED_MARK = "clinstream: simulated data, not a patient"
"""How our own sender marks what it made: Contribution Description (0018,A003) of an item of the Contributing
Equipment Sequence (0018,A001), PS3.3 C.12.1.1.5, which any DICOM tool keeps and shows."""

MARKS = frozenset({WRAPPED_MARK, SIMULATED_MARK})

SIMULATED_SUFFIX = "_SIM"
"""Ending of the called AE title by which a sender that can set nothing else says that its objects are made up."""

REQUEST_PRIORITIES = {0: "MEDIUM", 1: "HIGH", 2: "LOW"}
MODALITY_TAG = "00080060"

START_BYTES = 1 << 16
"""Where most headers end: as much is copied for the parser, and all only where the pixels begin later."""

UNDEFINED_LENGTH = 0xFFFFFFFF
UID_CHARACTERS = frozenset("0123456789.")


@dataclass(frozen=True, slots=True)
class Header:
    """The identifying elements of one data set, empty where absent. The personal ones never show in a repr.

    `order_priority` holds each Requested Procedure Priority (0040,1003) that is stated, `elements` what the routing
    table asked for, by tag.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str = field(repr=False, default="")
    patient_id: str = field(repr=False, default="")
    issuer: str = field(repr=False, default="")
    modality: str = ""
    order_priority: tuple[str, ...] = ()
    elements: Mapping[str, str] = field(repr=False, default_factory=dict)
    wrapped: bool = False
    simulated: bool = False


def read_header(data: bytes | memoryview, transfer_syntax_uid: str, tags: Iterable[str] = ()) -> Header:
    """The header of a data set without group 0002, encoded in the given transfer syntax (PS3.5 10 and Annex A).

    `tags` names more elements to be kept, as eight hexadecimal digits.

    Raises Unprocessable, saying what is wrong without quoting anything of the data set.
    """
    more = {name: int(name, 16) for name in tags}
    found = _elements(data, transfer_syntax_uid, [*WANTED, *more.values()])
    charset = _text(found, SPECIFIC_CHARACTER_SET, "")
    header = Header(
        sop_class_uid=_uid(found, SOP_CLASS_UID),
        sop_instance_uid=_uid(found, SOP_INSTANCE_UID),
        study_instance_uid=_uid(found, STUDY_INSTANCE_UID),
        patient_id=_text(found, PATIENT_ID, charset),
        issuer=_text(found, ISSUER_OF_PATIENT_ID, charset),
        modality=_text(found, MODALITY, "")[:16],
        order_priority=tuple(
            text for item in _orders(found) if (text := _text(item, REQUESTED_PROCEDURE_PRIORITY, ""))
        ),
        elements={name: text for name, tag in more.items() if (text := _text(found, tag, charset))},
        wrapped=_marked(found, WRAPPED_MARK),
        simulated=_marked(found, SIMULATED_MARK),
    )
    if not header.sop_instance_uid:
        raise Unprocessable("the data set has no SOP Instance UID (0008,0018)")
    if not header.sop_class_uid:
        raise Unprocessable("the data set has no SOP Class UID (0008,0016)")
    return header


def subject_of(key: bytes, header: Header) -> str:
    """Pseudonymous subject by (issuer, patient id); without a patient id each study is a subject of its own."""
    if header.patient_id:
        return ids.subject_id(key, header.issuer, header.patient_id)
    return "sub-" + ids.pseudonym(key, "subject-of-study", "", header.study_instance_uid or header.sop_instance_uid)


def study_of(key: bytes, header: Header) -> str:
    """Pseudonymous study; an object that names no study is one by itself."""
    return ids.study_id(key, header.study_instance_uid or header.sop_instance_uid)


def object_of(header: Header, *, simulated: bool) -> str:
    """The event's `object_id`: the SOP Instance UID. A simulated object is another one, so that a rehearsal with a
    real image can never be what the clinical result of that image is a duplicate of."""
    return ids.SIMULATED + header.sop_instance_uid if simulated else header.sop_instance_uid


def facts_of(header: Header, calling_ae: str, called_ae: str, c_store_priority: int | None) -> Facts:
    """What the routing table decides by; Priority (0000,0700) is 0 MEDIUM, 1 HIGH, 2 LOW (PS3.7 9.3.1.1)."""
    return Facts(
        calling_ae=calling_ae,
        called_ae=called_ae,
        request_priority=REQUEST_PRIORITIES.get(c_store_priority or 0, ""),
        order_priority=header.order_priority,
        sop_class=header.sop_class_uid,
        elements={**header.elements, MODALITY_TAG: header.modality},
    )


def _elements(data: bytes | memoryview, transfer_syntax_uid: str, wanted: list[int]) -> Dataset:
    if transfer_syntax_uid in dicom_encoding.DEFLATED:
        data = dicom_encoding.inflated(data)
    if len(data) < 8:
        raise Unprocessable("the data set is empty")
    if len(data) > START_BYTES:
        try:
            found, reached = _read(data[:START_BYTES], transfer_syntax_uid, wanted)
        except Exception:  # what it was cut in may raise anything, and is read whole below
            reached = False
        if reached:
            return found
    try:
        return _read(data, transfer_syntax_uid, wanted)[0]
    except Exception as error:  # pydicom raises nearly anything (struct.error, KeyError, RecursionError) on damage
        raise Unprocessable(f"the data set cannot be read ({type(error).__name__})") from error


def _read(data: bytes | memoryview, transfer_syntax_uid: str, wanted: list[int]) -> tuple[Dataset, bool]:
    """The wanted elements, and whether the pixels were reached: then there are no more."""
    reached = False

    def stop(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        nonlocal reached
        reached = bool(tag.group >= PIXEL_GROUP)
        return reached

    found = read_dataset(
        BytesIO(data),
        is_implicit_VR=not dicom_encoding.is_explicit(data),
        is_little_endian=dicom_encoding.is_little_endian(transfer_syntax_uid),
        stop_when=stop,
        specific_tags=wanted,
    )
    return found, reached


def _bytes(found: Dataset, tag: int) -> bytes:
    """The element's value as it was sent: not pydicom's conversion, which warns and raises on odd values."""
    if tag not in found:
        return b""
    try:
        element = found.get_item(tag)
    except Exception as error:  # a value that was left for later is read here, by a representation that may be none
        raise Unprocessable(f"an element of the header cannot be read ({type(error).__name__})") from error
    value = element.value
    if not isinstance(value, bytes):
        return b""
    length = getattr(element, "length", len(value))
    if length != UNDEFINED_LENGTH and len(value) < length:
        raise Unprocessable("the data set is cut off in its header")
    return value


def _uid(found: Dataset, tag: int) -> str:
    """A UI value (PS3.5 9.1); one with characters that no UID has is damage, and raises Unprocessable."""
    uid = _bytes(found, tag).split(b"\\")[0].rstrip(b"\0 ").decode("latin-1")
    if len(uid) > 64 or not set(uid) <= UID_CHARACTERS:
        raise Unprocessable(f"the UID in ({tag >> 16:04X},{tag & 0xFFFF:04X}) is malformed")
    return uid


def _text(found: Dataset, tag: int, charset: str) -> str:
    raw = _bytes(found, tag)
    codec = python_encoding.get(charset.split("\\")[0].strip(), "latin-1") if not raw.isascii() else "ascii"
    try:
        text = raw.decode(codec)
    except (UnicodeDecodeError, LookupError):
        text = raw.decode("latin-1")
    return text.strip(" \0")


def _items(found: Dataset, tag: int) -> list[Dataset]:
    if tag not in found:
        return []
    try:
        value = found[tag].value
    except Exception as error:  # converting a damaged sequence raises nearly anything
        raise Unprocessable(f"a sequence of the header cannot be read ({type(error).__name__})") from error
    return list(value) if isinstance(value, Sequence) else []


def _orders(found: Dataset) -> list[Dataset]:
    """Where the order's priority may stand: in the data set or in its Request Attributes Sequence (0040,0275)."""
    return [found, *_items(found, REQUEST_ATTRIBUTES)]


def _marked(found: Dataset, mark: str) -> bool:
    return any(_text(item, CONTRIBUTION_DESCRIPTION, "") == mark for item in _items(found, CONTRIBUTING_EQUIPMENT))
