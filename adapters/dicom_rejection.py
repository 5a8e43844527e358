"""Rejection notes: Key Object Selection documents (PS3.3 A.35.4) whose title takes the objects back that they name."""

import io
import warnings
from dataclasses import dataclass, field
from typing import Final

from pydicom.filereader import dcmread

from adapters import dicom_content
from schemas.errors import Unprocessable

KEY_OBJECT_SELECTION: Final = "1.2.840.10008.5.1.4.1.1.88.59"
# Document titles of PS3.16 CID 7011, coding scheme DCM.
TITLES: Final = {"113001": "rejected for quality reasons", "113037": "rejected for patient safety reasons"}
MOST_OBJECTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Note:
    """Why, in words of ours, the SOP Instance UIDs, and whose they are."""

    why: str
    objects: tuple[str, ...]
    issuer: str = field(repr=False, default="")
    patient_id: str = field(repr=False, default="")


def rejection(data: bytes) -> Note | None:
    """What a PS3.10 file takes back; None for a selection with another title. Raises Unprocessable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(io.BytesIO(data))
            title = dicom_content.title(dataset)
            if title not in TITLES:
                return None
            found = dicom_content.named(dataset)
            issuer, patient = (str(dataset.get(name, "") or "").strip() for name in ("IssuerOfPatientID", "PatientID"))
    except Exception as error:  # a parser meets hostile bytes: whatever it raises means that it cannot be read
        raise Unprocessable(f"the key object selection cannot be read ({type(error).__name__})") from error
    return Note(f"{TITLES[title]} ({title}, DCM)", tuple(found[:MOST_OBJECTS]), issuer, patient)
