"""Objects made pseudonymous by the confidentiality profile, and given patient and study back; pixels stay as they are.

What may be read in the pixels themselves, nobody looks for. Which objects this is done to is decided elsewhere.
"""

import warnings
from collections.abc import Collection
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Final

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

from adapters import dicom_encoding
from adapters.confidentiality import CHARACTERISTICS, EDITION, PIXEL_GROUP, RETAIN_CHARACTERISTICS, Profile
from adapters.dicom_patient import COPIED, NEEDED
from schemas import ids
from schemas.errors import Unprocessable
from schemas.routing import Deidentify

METHOD: Final = f"clinstream PS3.15 {EDITION} basic profile"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
INFLATED_BYTES: Final = 256 << 20

CONTENT_SEQUENCE: Final = 0x0040A730
CONTRIBUTING_EQUIPMENT: Final = 0x0018A001
PATIENT_NAME, PATIENT_ID, ACCESSION_NUMBER = 0x00100010, 0x00100020, 0x00080050
ISSUER_OF_PATIENT_ID: Final = 0x00100021
SAID_IN_WORDS: Final = frozenset({"TEXT", "PNAME", "DATE", "TIME", "DATETIME"})
"""Content items whose value may name somebody or a day; codes, numbers, places and references stay."""

DUMMIES: Final[dict[str, Any]] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), "REMOVED"),
    **dict.fromkeys(("FD", "FL", "SL", "SS", "SV", "UL", "US", "UV"), 0),
    **dict.fromkeys(("OB", "UN"), b"\0\0"),
    "AS": "000Y",
    "DA": "19000101",
    "DS": "0",
    "DT": "19000101000000",
    "IS": "0",
    "SQ": [],
    "TM": "000000",
    "UR": "http://removed.invalid",
}
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
    for one that cannot be read, or that says of itself that its pixels show who it is.
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
            _Walk(key, how, marks).all_of(whole)
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
            if _is_pseudonymous(dataset):
                return data if how == "characteristics" else _without_characteristics(dataset)
            _Walk(key, how, ()).all_of(dataset)
            return _file(dataset)
    except Unprocessable:
        raise
    except Exception as error:  # as above
        raise Unprocessable(f"the stored image cannot be de-identified ({type(error).__name__})") from error


def is_pseudonymous(data: bytes) -> bool:
    """Whether a PS3.10 file (or how it begins) was de-identified here. Raises Unprocessable."""
    try:
        return _is_pseudonymous(
            dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=["DeidentificationMethod"])
        )
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


class _Walk:
    """Through a data set and its sequences; keyed, so that what is equal before is equal after."""

    def __init__(self, key: bytes, how: Deidentify, marks: Collection[str]) -> None:
        self._key, self._profile, self._marks = key, Profile(characteristics=how == "characteristics"), marks

    def all_of(self, dataset: Dataset) -> None:
        """Changes it, and says in it what was done (PS3.15 E.1.1, last steps)."""
        if str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES":
            raise Unprocessable("its pixels show who it is (Burned In Annotation is YES): it cannot be de-identified")
        patient = self._patient(dataset)
        marked, content = self._marked(dataset), CONTENT_SEQUENCE in dataset
        self._each(dataset)
        if patient:
            dataset.PatientID = dataset.PatientName = patient
        if marked:
            dataset.ContributingEquipmentSequence = marked
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = METHOD
        dataset.DeidentificationMethodCodeSequence = [_coded(*code) for code in self._profile.codes(content)]
        dataset.LongitudinalTemporalInformationModified = "REMOVED"

    def _patient(self, dataset: Dataset) -> str:
        """A pseudonym for (issuer, id), so that a patient's objects stay together; empty for an object without id."""
        patient, issuer = (_text(dataset, tag) for tag in (PATIENT_ID, ISSUER_OF_PATIENT_ID))
        return ids.pseudonymous_patient(self._key, issuer, patient)

    def _marked(self, dataset: Dataset) -> list[Dataset]:
        found = []
        for item in dataset.get("ContributingEquipmentSequence", None) or ():
            if (said := str(item.get("ContributionDescription", "")).strip()) in self._marks:
                mark = Dataset()
                mark.Manufacturer, mark.ContributionDescription = "clinstream", said
                mark.PurposeOfReferenceCodeSequence = [_coded("109103", "Modifying Equipment")]
                found.append(mark)
        return found

    def _each(self, dataset: Dataset) -> None:
        for tag in list(dataset.keys()):
            action = self._profile.action(tag)
            vr = "" if action == "remove" else _vr(dataset, tag)
            if not vr or action == "remove":
                del dataset[tag]
            elif tag == CONTENT_SEQUENCE and vr == "SQ":
                self._content(dataset)
            elif action in ("keep", "items"):
                self._items(dataset, tag, vr, needed=action == "items")
            elif action == "uid" or (vr == "UI" and action == "dummy"):
                self._uids(dataset, tag, vr)
            else:
                self._replace(dataset, tag, vr, dummy=action == "dummy")

    def _items(self, dataset: Dataset, tag: int, vr: str, *, needed: bool) -> None:
        if vr == "SQ":
            for item in dataset[tag].value:
                self._each(item)
        elif needed:
            del dataset[tag]

    def _content(self, dataset: Dataset) -> None:
        """Content items of a document (PS3.15 E.3.4): those in words go, the others stay, cleaned."""
        kept = [item for item in dataset[CONTENT_SEQUENCE].value if str(item.get("ValueType", "")) not in SAID_IN_WORDS]
        for item in kept:
            self._each(item)
        dataset[CONTENT_SEQUENCE].value = kept

    def _uids(self, dataset: Dataset, tag: int, vr: str) -> None:
        if vr != "UI":
            del dataset[tag]
            return
        value = dataset[tag].value
        several = [str(each) for each in value] if _is_multi(value) else [str(value or "")]
        made = [ids.pseudonymous_uid(self._key, each.strip(" \0")) for each in several]
        dataset[tag] = DataElement(tag, "UI", made[0] if len(made) == 1 else made)

    def _replace(self, dataset: Dataset, tag: int, vr: str, *, dummy: bool) -> None:
        if tag == ACCESSION_NUMBER:
            number = ids.pseudonymous_accession(self._key, _text(dataset, tag))
            dataset[tag] = DataElement(tag, "SH", number)
        elif not dummy:
            dataset[tag] = DataElement(tag, vr, [] if vr == "SQ" else None)
        elif vr in DUMMIES:
            dataset[tag] = DataElement(tag, vr, DUMMIES[vr])
        else:
            del dataset[tag]


def _pixels(tag: Any, _vr: Any, _length: Any) -> bool:
    return bool(tag.group >= PIXEL_GROUP)


def _vr(dataset: Dataset, tag: int) -> str:
    """The representation that counts; empty where nobody can tell, so that what it holds must go."""
    found = dataset.get_item(tag)
    stated = found.VR if found is not None else None
    if stated is None:  # implicit
        try:
            return str(dictionary_VR(tag))
        except KeyError:
            return ""
    if stated == "UN":
        stated = dataset[tag].VR  # by the dictionary; what is a sequence becomes one
    return "" if stated == "UN" else str(stated)


def _text(dataset: Dataset, tag: int) -> str:
    value = dataset[tag].value if tag in dataset else None
    return "" if value is None else str(value).strip(" \0")


def _is_multi(value: Any) -> bool:
    return not isinstance(value, str | bytes) and hasattr(value, "__iter__")


def _coded(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _is_pseudonymous(dataset: Dataset) -> bool:
    return str(dataset.get("DeidentificationMethod", "")).startswith("clinstream ")


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
