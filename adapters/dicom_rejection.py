"""Rejection notes: Key Object Selection documents (PS3.3 A.35.4) whose title takes the objects back that they name."""

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from pydicom.filereader import dcmread

from schemas.errors import Unprocessable

KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"
# Document titles of PS3.16 CID 7011, coding scheme DCM.
TITLES: Final = {"113001": "rejected for quality reasons", "113037": "rejected for patient safety reasons"}
MOST_OBJECTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Note:
    """Why, in words of ours, and the SOP Instance UIDs."""

    why: str
    objects: tuple[str, ...]


def rejection(data: bytes) -> Note | None:
    """What a PS3.10 file takes back; None for a selection with another title. Raises Unprocessable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(io.BytesIO(data))
            title = _title(dataset)
            if title not in TITLES:
                return None
            # The document's content says what is rejected; the evidence repeats it, by study and series.
            found = list(_content(dataset)) or list(_evidence(dataset))
    except Exception as error:  # a parser meets hostile bytes: whatever it raises means that it cannot be read
        raise Unprocessable(f"the key object selection cannot be read ({type(error).__name__})") from error
    return Note(f"{TITLES[title]} ({title}, DCM)", tuple(dict.fromkeys(found))[:MOST_OBJECTS])


def _title(dataset: Any) -> str:
    for code in dataset.get("ConceptNameCodeSequence", None) or ():
        if str(code.get("CodingSchemeDesignator", "")) == "DCM":
            return str(code.get("CodeValue", ""))
    return ""


def _content(dataset: Any) -> Iterator[str]:
    for item in dataset.get("ContentSequence", None) or ():
        if str(item.get("ValueType", "")) in ("IMAGE", "COMPOSITE", "WAVEFORM"):
            yield from _instances(item)
        yield from _content(item)


def _evidence(dataset: Any) -> Iterator[str]:
    for study in dataset.get("CurrentRequestedProcedureEvidenceSequence", None) or ():
        for series in study.get("ReferencedSeriesSequence", None) or ():
            yield from _instances(series)


def _instances(item: Any) -> Iterator[str]:
    for reference in item.get("ReferencedSOPSequence", None) or ():
        uid = str(reference.get("ReferencedSOPInstanceUID", "") or "")
        if uid:
            yield uid
