"""From named measurements to the model's row: names, order, units and plausible ranges; scaling is in the graph."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.errors import OutOfRange

PREPROCESSING_VERSION = "icu-62.1"
STATISTICS = ("first", "last", "lowest", "highest", "median")


@dataclass(frozen=True, slots=True)
class Range:
    """Inclusive bounds in `unit`; a `flag` takes 0 or 1 only."""

    low: float
    high: float
    unit: str
    flag: bool = False

    def holds(self, value: float) -> bool:
        """Whether `value` is plausible."""
        return self.low <= value <= self.high and (not self.flag or value in (0.0, 1.0))


# Bounds let every one of the 4,000 training stays pass, artefacts included (a height of 3,960 cm, a MAP of 1 mmHg), and
# stop what another unit would send: Fahrenheit, mmol/L, kPa, metres, grams, a saturation as a fraction, age in months.
STATIC: dict[str, Range] = {
    "Age": Range(15, 120, "years"),
    "Gender": Range(0, 1, "0 female, 1 male", flag=True),
    "Height": Range(30, 4000, "cm"),
    "Weight": Range(10, 500, "kg"),
    "CCU": Range(0, 1, "0 or 1: coronary care unit", flag=True),
    "CSRU": Range(0, 1, "0 or 1: cardiac surgery recovery unit", flag=True),
    "SICU": Range(0, 1, "0 or 1: surgical unit", flag=True),
}
MEASURED: dict[str, Range] = {
    "DiasABP": Range(0, 300, "mmHg"),
    "GCS": Range(3, 15, "points"),
    "Glucose": Range(5, 2500, "mg/dL"),
    "HR": Range(0, 350, "1/min"),
    "MAP": Range(0, 350, "mmHg"),
    "NIDiasABP": Range(0, 300, "mmHg"),
    "NIMAP": Range(0, 350, "mmHg"),
    "NISysABP": Range(0, 400, "mmHg"),
    "RespRate": Range(0, 150, "1/min"),
    "SaO2": Range(5, 100, "%"),
    "Temp": Range(15, 47, "degrees Celsius"),
}
# The middle and the highest of two days are far from what one artefact makes of the first, last or lowest value, so
# their lower bounds can tell a unit: 8 mmol/L is no median glucose in mg/dL, 12 kPa no median pressure in mmHg.
STEADY: dict[str, Range] = {
    "Glucose_median": Range(30, 2500, "mg/dL"),
    "Glucose_highest": Range(30, 2500, "mg/dL"),
    "DiasABP_median": Range(15, 300, "mmHg"),
    "DiasABP_highest": Range(15, 300, "mmHg"),
    "NIDiasABP_median": Range(15, 300, "mmHg"),
    "NIDiasABP_highest": Range(20, 300, "mmHg"),
    "NIMAP_median": Range(25, 350, "mmHg"),
    "NIMAP_highest": Range(25, 350, "mmHg"),
    "HR_median": Range(15, 350, "1/min"),
    "HR_highest": Range(15, 350, "1/min"),
    "Temp_median": Range(25, 47, "degrees Celsius"),
    "Temp_highest": Range(25, 47, "degrees Celsius"),
}
RANGES: dict[str, Range] = {
    **STATIC,
    **{
        f"{name}_{statistic}": STEADY.get(f"{name}_{statistic}", bounds)
        for statistic in STATISTICS
        for name, bounds in MEASURED.items()
    },
}
FEATURES: tuple[str, ...] = tuple(RANGES)
_NAMES = frozenset(FEATURES)
_LOW = np.array([bounds.low for bounds in RANGES.values()])
_HIGH = np.array([bounds.high for bounds in RANGES.values()])
_FLAG = np.array([bounds.flag for bounds in RANGES.values()])


def prepare(features: Mapping[str, float | None]) -> npt.NDArray[np.float32]:
    """One row, float32 [62] in the order of `FEATURES`, NaN where nothing was measured.

    `_first`, `_last`, `_lowest`, `_highest` and `_median` are over the first 48 hours of the stay; units as in
    `RANGES`. None or an absent name means not measured. Raises OutOfRange naming the feature (never the value) for an
    unknown name, a value that is not a finite number, one outside its range, or when nothing at all was measured.
    """
    if not features.keys() <= _NAMES:
        raise OutOfRange(_unknown(features))
    get = features.get
    row = np.array([math.nan if (value := get(name)) is None else value for name in FEATURES], dtype=np.float64)
    plausible = (row >= _LOW) & (row <= _HIGH) & (~_FLAG | (row == 0.0) | (row == 1.0))
    measured = sum(value is not None for value in features.values())
    if np.count_nonzero(plausible) < measured:
        raise OutOfRange(_implausible(features))
    if measured == 0:
        raise OutOfRange("none of the 62 features was measured")
    return row.astype(np.float32)


def _unknown(features: Mapping[str, float | None]) -> str:
    names = sorted(set(features) - _NAMES)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return "unknown features: " + ", ".join(repr(name[:40]) for name in names[:5]) + more


def _implausible(features: Mapping[str, float | None]) -> str:
    """What is wrong with the first implausible feature, without its value."""
    for name, bounds in RANGES.items():
        value = features.get(name)
        if value is not None and not math.isfinite(value):
            return f"{name} is not a finite number; leave it out or send null where it was not measured"
        if value is not None and not bounds.holds(value):
            allowed = "0 or 1" if bounds.flag else f"{bounds.low:g} to {bounds.high:g} {bounds.unit}"
            return f"{name} is outside its plausible range ({allowed}); check the value and its unit"
    return "a feature is outside its plausible range"
