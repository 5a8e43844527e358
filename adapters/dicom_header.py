"""Headers of stored DICOM files for searches, retrievals and the ledger, and a picture of the first frame."""

import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from PIL import Image
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.filereader import dcmread, read_partial

from adapters import dicom_reading
from adapters.imaging import to_colour, to_display
from schemas.errors import Unprocessable

PIXEL_GROUP: Final = 0x7FE0
INLINE_BYTES: Final = 65_536
JPEG_QUALITY: Final = 90

INDEXED: Final = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "Modality",
    "ReferringPhysicianName",
    "StudyDescription",
    "SeriesDescription",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "BodyPartExamined",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyID",
    "SeriesNumber",
    "InstanceNumber",
    "NumberOfStudyRelatedInstances",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
)
TEXTS: Final = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "PatientName",
    "AccessionNumber",
    "StudyDate",
    "NumberOfStudyRelatedInstances",
)
_TAGS: Final = [tag_for_keyword(keyword) for keyword in INDEXED]


@dataclass(frozen=True, slots=True)
class Indexed:
    """What searches need of a header: DICOM JSON of `INDEXED`, and plain texts of `TEXTS` by keyword."""

    attributes: dict[str, Any] = field(repr=False)
    texts: dict[str, str] = field(repr=False)


def index(start: bytes, *, whole: bool) -> Indexed | None:
    """The indexed elements of a PS3.10 file from its first bytes; None where these end within the header.

    `whole` says that `start` is all there is. An element that cannot be read is left out. Raises Unprocessable.
    """
    reached = False

    def stop(tag: Any, _vr: Any, _length: Any) -> bool:
        nonlocal reached
        reached = reached or tag.group >= PIXEL_GROUP
        return bool(tag.group >= PIXEL_GROUP)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # noise of old devices; what cannot be read is left out
            dataset = read_partial(io.BytesIO(start), stop_when=stop, specific_tags=_TAGS)
            if not whole and not reached:
                return None
            return Indexed(dict(_elements(dataset)), {keyword: _text(dataset, keyword) for keyword in TEXTS})
    except Exception as error:  # a parser meets hostile bytes: whatever it raises means that it cannot be read
        if not whole:
            return None
        raise Unprocessable(f"not a readable DICOM data set ({type(error).__name__})") from error


def as_json(data: bytes) -> dict[str, Any]:
    """The header of a PS3.10 file as DICOM JSON (PS3.18 F), without pixels and without large binary values."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(io.BytesIO(data), stop_before_pixels=True)
            found = dict(_elements(dataset))
            syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    except Exception as error:  # as above
        raise Unprocessable(f"not a readable DICOM data set ({type(error).__name__})") from error
    return {**found, "00083002": {"vr": "UI", "Value": [syntax]}} if syntax else found


def render(data: bytes, form: str) -> bytes:
    """The first frame as a person would see it, as a picture of `form` (JPEG or PNG). Raises Unprocessable."""
    image = dicom_reading.decode_dicom(data)
    colour = to_colour(image)
    shown = Image.fromarray(to_display(image) if colour is None else colour)
    file = io.BytesIO()
    shown.save(file, form, **({"quality": JPEG_QUALITY} if form == "JPEG" else {}))
    return file.getvalue()


def _elements(dataset: Dataset) -> Iterable[tuple[str, dict[str, Any]]]:
    """One element at a time: a damaged one costs only itself."""
    for tag in dataset.keys():  # noqa: SIM118 - iterating the data set itself would convert each element at once
        if tag.group >= PIXEL_GROUP:
            break
        try:
            element = dataset[tag]
            if isinstance(element.value, bytes) and len(element.value) > INLINE_BYTES:
                continue
            yield f"{tag.group:04X}{tag.element:04X}", _clean(element.to_json_dict(None, INLINE_BYTES))
        except Exception:  # pydicom converts on access and raises anything
            continue


def _clean(value: Any) -> Any:
    """Without the zero bytes and lone surrogates that PostgreSQL and JSON refuse."""
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_clean(each) for each in value]
    if isinstance(value, dict):
        return {name: _clean(each) for name, each in value.items()}
    return value


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        value = dataset.get(keyword, "")
    except Exception:  # pydicom converts on access and raises anything
        return ""
    return "" if value is None else str(_clean(str(value))).strip()
