"""The image that a result speaks of, and what results take over from it: patient and study, exactly as they came."""

import copy
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO

import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from adapters.dicom_patient import COPIED, NEEDED
from schemas.errors import Unprocessable

NOT_TEXT = frozenset({"SQ", "US", "SS", "UL", "SL", "FD", "FL", "AT"})
TAGS = tuple((tag, dictionary_VR(tag)) for tag in (tag_for_keyword(name) for name in COPIED) if tag is not None)


@dataclass(frozen=True)
class SourceImage:
    """The header to read from, the same untouched, and a stand-in with UIDs alone for a library that copies.

    An element of `untouched` is never converted: a converted one no longer holds its bytes.
    """

    dataset: Dataset
    untouched: Dataset
    stand_in: Dataset

    def text(self, keyword: str) -> str:
        """An attribute in words; empty when it is absent."""
        value = self.dataset.get(keyword)
        return "" if value is None else str(value).strip()

    def lend(self, to: Dataset) -> None:
        """Gives `to` the patient and the study of the image, byte for byte; what the image lacks is left as it is.

        Text is taken undecoded, with the Specific Character Set (0008,0005) that it is encoded in: names in several
        writings (ISO 2022) would not come out of a decoder as they went in.
        """
        for tag, vr in TAGS:
            if tag not in self.untouched:
                continue
            found = self.untouched.get_item(tag)
            raw = found.value if isinstance(found, RawDataElement) else None
            if vr not in NOT_TEXT and isinstance(raw, bytes):
                to[tag] = RawDataElement(found.tag, vr, len(raw), raw, 0, False, True)
            else:
                to[tag] = copy.deepcopy(self.dataset[tag])


def read(data: bytes) -> SourceImage:
    """The source image of a stored DICOM file; raises Unprocessable where it lacks what a report must refer to."""
    try:
        dataset, untouched = (pydicom.dcmread(BytesIO(data), stop_before_pixels=True) for _ in range(2))
        stand_in = Dataset()
        for keyword in NEEDED:
            value = str(dataset.get(keyword) or "")
            if not value:
                raise Unprocessable(f"the image has no {keyword}, which a report must refer to")
            setattr(stand_in, keyword, value)
        for keyword in ("Modality", "Rows", "Columns"):
            if keyword in dataset:
                setattr(stand_in, keyword, dataset.get(keyword))
    except Unprocessable:
        raise
    except Exception as error:  # pydicom raises nearly anything on damage
        raise Unprocessable(f"the stored image cannot be read ({type(error).__name__})") from error
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(stand_in, keyword, "")
    stand_in.StudyDate = stand_in.StudyTime = stand_in.ReferringPhysicianName = ""
    return SourceImage(dataset, untouched, stand_in)


def stamp(seconds: float) -> datetime:
    """The local time of a moment since the epoch, which is what DICOM's dates and times mean without an offset."""
    return datetime.fromtimestamp(seconds).astimezone()
