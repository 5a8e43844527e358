"""Objects made pseudonymous by the confidentiality profile, and given patient and study back; pixels stay as they are.

What may be read in the pixels themselves, nobody looks for. Which objects this is done to is decided elsewhere.
"""

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any, Final

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from adapters import dicom_encoding
from adapters.confidentiality import CHARACTERISTICS, PIXEL_GROUP, RETAIN_CHARACTERISTICS
from adapters.deidentifying_walk import Walk, method
from adapters.dicom_patient import COPIED, NEEDED
from adapters.part_ten import take_apart
from schemas.errors import Unprocessable
from schemas.routing import Deidentify

DEFLATED: Final = "1.2.840.10008.1.2.1.99"
INFLATED_BYTES: Final = 256 << 20
DEIDENTIFICATION_METHOD: Final = 0x00120063

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
    plain = _Plain.of(data, transfer_syntax_uid)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # noise of old devices
            identity = plain.read(header=True, tags=_IDENTITY_TAGS)
            packed = bytes([2 * plain.implicit + plain.little_endian]) + plain.encoded(identity)
            whole = plain.read()
            Walk(key, how, marks).all_of(whole)
            return Pseudonymous(plain.packed(whole), packed)
    except Unprocessable:
        raise
    except Exception as error:  # pydicom raises nearly anything on damage
        raise Unprocessable(f"the object cannot be de-identified ({type(error).__name__})") from error


def of_file(data: bytes, key: bytes, how: Deidentify, *, whole: bool) -> bytes:
    """A stored PS3.10 file de-identified, without pixels unless `whole`; one that is already stays as it is."""
    meta, plain = _opened(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = plain.read(header=not whole)
            if not _is_pseudonymous(dataset, key):
                Walk(key, how, ()).all_of(dataset)
            elif how != "characteristics":
                _take_characteristics(dataset)
            return meta + plain.packed(dataset)
    except Unprocessable:
        raise
    except Exception as error:  # as above
        raise Unprocessable(f"the stored image cannot be de-identified ({type(error).__name__})") from error


def is_pseudonymous(data: bytes, key: bytes) -> bool:
    """Whether a PS3.10 file (or how it begins) was de-identified with this key. Raises Unprocessable."""
    file = take_apart(data)
    deflated = file.transfer_syntax_uid in dicom_encoding.DEFLATED
    content = dicom_encoding.inflated(file.data) if deflated else file.data  # the header is enough here
    little_endian = dicom_encoding.is_little_endian(file.transfer_syntax_uid)
    plain = _Plain(content, not dicom_encoding.is_explicit(content), little_endian, deflated=False)
    try:
        return _is_pseudonymous(plain.read(header=True, tags=[DEIDENTIFICATION_METHOD]), key)
    except Exception as error:  # as above
        raise Unprocessable(f"the stored image cannot be read ({type(error).__name__})") from error


def given_back(data: bytes, identity: bytes, *, whole: bool) -> bytes:
    """A de-identified PS3.10 file with its patient, study and UIDs as they came, byte for byte; pixels if `whole`."""
    meta, plain = _opened(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = plain.read(header=not whole)
            original = replace(plain, data=identity[1:], implicit=bool(identity[0] & 2)).read()
            for tag in _IDENTITY_TAGS:
                if tag in dataset:
                    del dataset[tag]
            for tag in original.keys():  # noqa: SIM118 - iterating the data set itself would convert each element
                dataset[tag] = original.get_item(tag)
            return meta + plain.packed(dataset)
    except Exception as error:  # as above
        raise Unprocessable(f"the identity cannot be given back ({type(error).__name__})") from error


@dataclass(frozen=True, slots=True)
class _Plain:
    """The bytes of a data set, not deflated, and how they are encoded, whatever their transfer syntax says."""

    data: bytes
    implicit: bool
    little_endian: bool
    deflated: bool

    @classmethod
    def of(cls, data: bytes, syntax: str) -> "_Plain":
        """Raises Unprocessable for what cannot be written again."""
        deflated = syntax in dicom_encoding.DEFLATED
        if deflated:
            if syntax != DEFLATED:
                raise Unprocessable("an object in this transfer syntax cannot be de-identified")
            data = dicom_encoding.inflated(data, INFLATED_BYTES + 1)
            if len(data) > INFLATED_BYTES:
                raise Unprocessable("the inflated data set is too large to be de-identified")
        return cls(data, not dicom_encoding.is_explicit(data), dicom_encoding.is_little_endian(syntax), deflated)

    def read(self, *, header: bool = False, tags: Sequence[int] | None = None) -> Dataset:
        """All of it, or what stands before the pixels, or some elements; raises what pydicom raises."""
        file, wanted = BytesIO(self.data), None if tags is None else list(tags)
        stop = _pixels if header else None
        return read_dataset(file, self.implicit, self.little_endian, stop_when=stop, specific_tags=wanted)

    def encoded(self, dataset: Dataset) -> bytes:
        """In the same encoding, so that elements which nobody touched are the same bytes."""
        buffer = DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = self.implicit, self.little_endian
        write_dataset(buffer, dataset)
        return bytes(buffer.getvalue())

    def packed(self, dataset: Dataset) -> bytes:
        """The same, deflated where it came so."""
        made = self.encoded(dataset)
        return dicom_encoding.deflated(made) if self.deflated else made


def _opened(data: bytes) -> tuple[bytes, _Plain]:
    """Everything before the data set of a PS3.10 file, and the data set; raises Unprocessable."""
    file = take_apart(data)
    return data[: len(data) - len(file.data)], _Plain.of(file.data, file.transfer_syntax_uid)


def _pixels(tag: Any, _vr: Any, _length: Any) -> bool:
    return bool(tag.group >= PIXEL_GROUP)


def _is_pseudonymous(dataset: Dataset, key: bytes) -> bool:
    return str(dataset.get("DeidentificationMethod", "")) == method(key)


def _take_characteristics(dataset: Dataset) -> None:
    """Of one that kept them, for a reader who may not even know these."""

    def blank(_dataset: Dataset, element: DataElement) -> None:
        if element.tag in CHARACTERISTICS:
            element.value = None

    dataset.walk(blank)
    said = dataset.get("DeidentificationMethodCodeSequence", None) or []
    dataset.DeidentificationMethodCodeSequence = [each for each in said if each.CodeValue != RETAIN_CHARACTERISTICS[0]]
