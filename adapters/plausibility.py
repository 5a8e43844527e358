"""What a DICOM header says that cannot be, in words for a person and without its values; pixels play no part.

Warnings travel with the answer and change nothing in it: a wrong birth date is no reason to lose an image.
"""

import re
from datetime import date
from typing import Any, Final

from adapters.dicom_reading import age_years, text_of
from adapters.imaging import ImageHeader
from adapters.stored_image import OpenedImage

OLDEST_YEARS: Final = 120.0
AGES_APART_YEARS: Final = 2.0
FIRST_IMAGES: Final = date(1980, 1, 1)
"""Before it nobody stored digital radiographs: such a date is a clock that was never set."""
SPACING_MM: Final = (0.01, 2.0)
FIELD_MM: Final = (20.0, 1000.0)
HEIGHT_M: Final = (0.2, 2.5)
WEIGHT_KG: Final = (0.3, 350.0)
PROJECTIONS: Final = frozenset({"CR", "DX", "RG", "MG"})
SPACINGS: Final = ("ImagerPixelSpacing", "PixelSpacing", "NominalScannedPixelSpacing")


def warnings(opened: OpenedImage, today: date) -> tuple[str, ...]:
    """All that is not plausible, in a fixed order; none for a picture, which has no header."""
    if opened.dataset is None:
        return ()
    found = [*_ages(opened.dataset, today), *_dates(opened.dataset, today), *_body(opened.dataset)]
    if opened.header.modality in PROJECTIONS:
        found += _spacing(opened.dataset, opened.header)
    return tuple(found)


def _ages(dataset: Any, today: date) -> list[str]:
    found = []
    stated = age_years(text_of(dataset, "PatientAge"))
    born, seen = _date(dataset, "PatientBirthDate"), _date(dataset, "StudyDate")
    if stated is not None and stated > OLDEST_YEARS:
        found.append("the patient's age (0010,1010) is more than 120 years")
    if born is not None and born > today:
        found.append("the birth date (0010,0030) lies in the future")
    elif born is not None and seen is not None and born > seen:
        found.append("the birth date (0010,0030) is later than the study (0008,0020)")
    elif born is not None and seen is not None:
        by_dates = (seen - born).days / 365.25
        if by_dates > OLDEST_YEARS:
            found.append("by birth date (0010,0030) and study (0008,0020) the patient is more than 120 years old")
        elif stated is not None and abs(stated - by_dates) > AGES_APART_YEARS:
            found.append("the patient's age (0010,1010) and the birth date (0010,0030) differ by more than two years")
    return found


def _dates(dataset: Any, today: date) -> list[str]:
    found = []
    for name, words in (("StudyDate", "study date (0008,0020)"), ("AcquisitionDate", "acquisition date (0008,0022)")):
        at = _date(dataset, name)
        # A day of tolerance: the sender's zone may be ahead of ours.
        if at is not None and (at - today).days > 1:
            found.append(f"the {words} lies in the future")
        elif at is not None and at < FIRST_IMAGES:
            found.append(f"the {words} is before 1980")
    return found


def _body(dataset: Any) -> list[str]:
    found = []
    for name, (low, high), words in (
        ("PatientSize", HEIGHT_M, "height (0010,1020) is not between 0.2 and 2.5 m"),
        ("PatientWeight", WEIGHT_KG, "weight (0010,1030) is not between 0.3 and 350 kg"),
    ):
        value = _number(text_of(dataset, name))
        if value is not None and not low <= value <= high:
            found.append(f"the patient's {words}")
    return found


def _spacing(dataset: Any, header: ImageHeader) -> list[str]:
    down, across = next((both for name in SPACINGS if (both := _pair(dataset, name))), (None, None))
    if down is None or across is None:
        return []
    low, high = SPACING_MM
    if not (low <= down <= high and low <= across <= high):
        return ["the pixel spacing is not between 0.01 and 2 mm"]
    if not all(FIELD_MM[0] <= side <= FIELD_MM[1] for side in (down * header.rows, across * header.columns)):
        return ["by its pixel spacing the image is smaller than 2 cm or larger than 1 m"]
    return []


def _date(dataset: Any, name: str) -> date | None:
    text = text_of(dataset, name)
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:])) if re.fullmatch(r"\d{8}", text) else None
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _pair(dataset: Any, name: str) -> tuple[float, float] | None:
    """Row and column spacing in mm; None where they are absent or no two numbers."""
    try:
        stated = dataset.get(name, None)
        return (float(stated[0]), float(stated[1])) if stated else None
    except Exception:  # a damaged element that pydicom reads only on access
        return None
