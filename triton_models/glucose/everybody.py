"""Ends of the interval by the hour of the wearer's clock and the range of the newest reading, as measured on everybody.

Who has too few readings for numbers of their own, but a known clock, gets these as a first vector. It bends nothing.
The measuring is in `everybody_measured`; the numbers hold for one version of the network.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from triton_models.glucose import personal
from triton_models.glucose.preprocess import DAY_S, TIMES_OF_DAY, VECTOR

Floats = npt.NDArray[np.float64]
FILE = Path(__file__).with_name("everybody.json")


@dataclass(frozen=True, slots=True)
class Measured:
    """Factors for the lower and the upper ends, by eight times of the wearer's day and by four ranges of glucose."""

    version: str
    hours: tuple[tuple[float, ...], tuple[float, ...]]
    ranges: tuple[tuple[float, ...], tuple[float, ...]]


@cache
def measured() -> Measured:
    """The committed numbers."""
    read = json.loads(FILE.read_text(encoding="utf-8"))
    (below, above), (low, high) = read["hours"], read["ranges"]
    return Measured(read["version"], (tuple(below), tuple(above)), (tuple(low), tuple(high)))


def vector(found: Measured, ahead_s: float) -> tuple[float, ...]:
    """What goes along with the windows of a wearer whose clock is so many seconds ahead of UTC.

    Vectors tell the time in UTC: between the middles of the eight times the numbers are those of the wearer's hour.
    """
    on_the_clock = [0.0] * VECTOR + [factor for end in found.hours for factor in end]
    middles = (np.arange(TIMES_OF_DAY) + 0.5) * DAY_S / TIMES_OF_DAY
    turned = personal.ends(on_the_clock, middles + ahead_s).T
    numbers = [0.0] * VECTOR + [*turned.ravel().tolist(), *(factor for end in found.ranges for factor in end)]
    return tuple(round(number, 5) for number in numbers)
