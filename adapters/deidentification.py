"""Objects made pseudonymous by the confidentiality profile, and given patient and study back; pixels stay as they are.

What may be read in the pixels themselves, nobody looks for. Which objects this is done to is decided elsewhere.
"""

import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from adapters import dicom_encoding
from adapters.confidentiality import CHARACTERISTICS, PIXEL_GROUP, RETAIN_CHARACTERISTICS
from adapters.deidentifying_walk import Walk, method
from adapters.dicom_patient import COPIED, NEEDED
from schemas.errors import Unprocessable
from schemas.routing import Deidentify

DEFLATED: Final = "1.2.840.10008.1.2.1.99"
INFLATED_BYTES: Final = 256 << 20

_IDENTITY_TAGS: Final = sorted(tag for name in (*COPIED, *NEEDED) if (tag := tag_for_keyword(name)) is not None)


@dataclass(frozen=True, slots=True)
class Pseudonymous:
    """A data set without its identity, and the identity: patient, study and UIDs as they came, undecoded."""

    data: bytes
    identity: bytes = field(repr=False)


def on_the_wire(
    data: bytes, transfer_syntax_uid: str, key: bytes, how: Deidentify, marks: Collection[str] = ()
) -> Pseudonymous:
    """A data set without group 0002, de-identified in its own encoding; the same again for the same input.

    `marks` are contribution descriptions (0018,A003) that name nobody and stay. Raises Unprocessable, quoting nothing,
    for one that cannot be read, or that says of itself that its pixels may show who it is.
    """
    if transfer_syntax_uid in dicom_encoding.DEFLATED:
        if transfer_syntax_uid != DEFLATED:
            raise Unprocessable("an object in this transfer syntax cannot be de-identified")
        data = dicom_encoding.inflated(data, INFLATED_BYTES + 1)
        if len(data) > INFLATED_BYTES:
            raise Unprocessable("the inflated data set is too large to be de-identified")
    encoding = (not dicom_encoding.is_explicit(data), dicom_encoding.is_little_endian(transfer_syntax_uid))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # noise of old devices
            identity = read_dataset(BytesIO(data), *encoding, stop_when=_pixels, specific_tags=list(_IDENTITY_TAGS))
            whole = read_dataset(BytesIO(data), *encoding)
            packed = bytes([2 * encoding[0] + encoding[1]]) + _encoded(identity, encoding)
            Walk(key, how, marks).all_of(whole)
            made = _encoded(whole, encoding)
    except Unprocessable:
        raise
    except Exception as error:  # pydicom raises nearly anything on damage
        raise Unprocessable(f"the object cannot be de-identified ({type(error).__name__})") from error
    return Pseudonymous(dicom_encoding.deflated(made) if transfer_syntax_uid == DEFLATED else made, packed)


def of_file(data: bytes, key: bytes, how: Deidentify, *, whole: bool) -> bytes:
    """A stored PS3.10 file de-identified, without pixels unless `whole`; one that is already stays as it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(BytesIO(data), stop_before_pixels=not whole)
            if _is_pseudonymous(dataset, key):
                return data if how == "characteristics" else _without_characteristics(dataset)
            Walk(key, how, ()).all_of(dataset)
            return _file(dataset)
    except Unprocessable:
        raise
    except Exception as error:  # as above
        raise Unprocessable(f"the stored image cannot be de-identified ({type(error).__name__})") from error


def is_pseudonymous(data: bytes, key: bytes) -> bool:
    """Whether a PS3.10 file (or how it begins) was de-identified with this key. Raises Unprocessable."""
    try:
        found = dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=["DeidentificationMethod"])
        return _is_pseudonymous(found, key)
    except Exception as error:  # as above
        raise Unprocessable(f"the stored image cannot be read ({type(error).__name__})") from error


def given_back(data: bytes, identity: bytes, *, whole: bool) -> bytes:
    """A de-identified PS3.10 file with its patient, study and UIDs as they came, byte for byte; pixels if `whole`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(BytesIO(data), stop_before_pixels=not whole)
            original = read_dataset(BytesIO(identity[1:]), bool(identity[0] & 2), bool(identity[0] & 1))
            for tag in _IDENTITY_TAGS:
                if tag in dataset:
                    del dataset[tag]
            for tag in original.keys():  # noqa: SIM118 - iterating the data set itself would convert each element
                dataset[tag] = original.get_item(tag)
            return _file(dataset)
    except Exception as error:  # as above
        raise Unprocessable(f"the identity cannot be given back ({type(error).__name__})") from error


def _pixels(tag: Any, _vr: Any, _length: Any) -> bool:
    return bool(tag.group >= PIXEL_GROUP)


def _is_pseudonymous(dataset: Dataset, key: bytes) -> bool:
    return str(dataset.get("DeidentificationMethod", "")) == method(key)


def _without_characteristics(dataset: Any) -> bytes:
    """Of one that kept them, for a reader who may not even know these."""

    def blank(_dataset: Dataset, element: DataElement) -> None:
        if element.tag in CHARACTERISTICS:
            element.value = None

    dataset.walk(blank)
    said = dataset.get("DeidentificationMethodCodeSequence", None) or []
    dataset.DeidentificationMethodCodeSequence = [each for each in said if each.CodeValue != RETAIN_CHARACTERISTICS[0]]
    return _file(dataset)


def _encoded(dataset: Dataset, encoding: tuple[bool, bool]) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = encoding
    write_dataset(buffer, dataset)
    return bytes(buffer.getvalue())


def _file(dataset: Any) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=False)
    return buffer.getvalue()
