"""The packaged samples of `make demo`: real images and readings, public; where each comes from is in ATTRIBUTION.md."""

from pathlib import Path

PACK = Path(__file__).parent / "pack"
IMAGES = PACK / "images"
"""DICOM files and JPEG pictures for `clinstream send dicom`: chest images, one of them twice, a hand for `fracture` and
an ear for the otoscope models."""

VITALS = PACK / "vitals"
"""60 intensive-care stays for `clinstream send vitals`: a CSV and a JSON file."""

ICU_TRAINING = PACK / "icu_mortality"
"""For `clinstream train icu_mortality`: training, validation and frozen hold-out rows, none of the stays of `VITALS`,
and a recipe that is quicker than the usual one."""

VITALS_OUTCOMES = PACK / "stays_outcomes.csv"
"""What became of the stays of `VITALS`, by recordid; never sent through a door."""

OTOSCOPE = PACK / "otoscope"
"""Otoscope photographs for `clinstream send otoscope`; the side is in the file's name."""

CGM = PACK / "cgm"
"""Eight hours of readings of two wearers for `clinstream send cgm`."""


def size_bytes() -> int:
    """How much the pack weighs; at most 3 MB."""
    return sum(path.stat().st_size for path in PACK.rglob("*") if path.is_file())
