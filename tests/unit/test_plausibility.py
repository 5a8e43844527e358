"""Headers that cannot be are told in words that name no value (CC11)."""

from datetime import date
from typing import Any
from warnings import catch_warnings, simplefilter

import pytest
from pydicom.dataset import Dataset

from adapters import plausibility
from adapters.imaging import ImageHeader
from adapters.stored_image import OpenedImage

TODAY = date(2026, 3, 1)


def warnings(modality: str = "DX", rows: int = 2000, columns: int = 2000, **elements: Any) -> tuple[str, ...]:
    """What is said of a header with these elements."""
    dataset = Dataset()
    with catch_warnings():
        simplefilter("ignore")  # pydicom complains of the very values that these tests need
        for name, value in elements.items():
            setattr(dataset, name, value)
    opened = OpenedImage(ImageHeader(modality=modality, rows=rows, columns=columns), dataset, decode=lambda: None)  # type: ignore[arg-type, return-value]
    return plausibility.warnings(opened, TODAY)


SOUND: dict[str, Any] = {
    "PatientAge": "040Y",
    "PatientBirthDate": "19850601",
    "StudyDate": "20260228",
    "AcquisitionDate": "20260302",
    "PatientSize": "1.8",
    "PatientWeight": "80",
    "ImagerPixelSpacing": [0.15, 0.15],
}


def test_a_sound_header_and_an_empty_one_give_no_warning() -> None:
    """The acquisition is a day ahead: the sender's zone may be."""
    assert warnings(**SOUND) == ()
    assert warnings() == ()
    picture = OpenedImage(ImageHeader(), None, decode=lambda: None)  # type: ignore[arg-type, return-value]
    assert plausibility.warnings(picture, TODAY) == ()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"PatientAge": "130Y", "PatientBirthDate": ""}, "more than 120 years"),
        ({"PatientBirthDate": "20270101"}, "lies in the future"),
        ({"PatientBirthDate": "20260301"}, "later than the study"),
        ({"PatientBirthDate": "18800101", "PatientAge": ""}, "more than 120 years old"),
        ({"PatientAge": "004Y"}, "differ by more than two years"),
        ({"StudyDate": "20260303", "PatientBirthDate": ""}, "the study date (0008,0020) lies in the future"),
        ({"AcquisitionDate": "19700101"}, "the acquisition date (0008,0022) is before 1980"),
        ({"PatientSize": "180"}, "height (0010,1020)"),
        ({"PatientWeight": "0"}, "weight (0010,1030)"),
        ({"ImagerPixelSpacing": [0.0, 0.15]}, "spacing is not between"),
        ({"ImagerPixelSpacing": [1.5, 1.5]}, "larger than 1 m"),
    ],
)
def test_what_cannot_be_is_named_once_and_without_its_value(changed: dict[str, Any], words: str) -> None:
    (said,) = warnings(**{**SOUND, **changed})
    assert words in said
    values = [str(value) for value in changed.values() if len(str(value)) > 4]
    assert not any(value in said for value in values)


def test_several_faults_are_all_told() -> None:
    assert len(warnings(**{**SOUND, "PatientSize": "180", "PatientWeight": "0", "PatientAge": "004Y"})) == 3


def test_spacing_counts_for_projections_only() -> None:
    """A tomogram may be of a thumb or of a whole body."""
    assert warnings("CT", ImagerPixelSpacing=[3.0, 3.0]) == ()


@pytest.mark.parametrize("nonsense", [{"PatientBirthDate": "19851399"}, {"PatientAge": "old"}, {"PatientSize": None}])
def test_what_is_no_value_at_all_is_passed_over(nonsense: dict[str, Any]) -> None:
    assert warnings(**nonsense) == ()


def test_a_damaged_element_is_passed_over() -> None:
    class Damaged:
        def get(self, key: str, default: object = None) -> object:
            raise ValueError("cut off")

    opened = OpenedImage(ImageHeader(modality="DX"), Damaged(), decode=lambda: None)  # type: ignore[arg-type, return-value]
    assert plausibility.warnings(opened, TODAY) == ()
