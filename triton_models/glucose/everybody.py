"""Ends of the interval by the hour of the wearer's clock and the range of the newest reading, as measured on everybody.

Who has too few readings for numbers of their own gets these as a first vector: by the clock where its zone is known,
else by all that it may show, each as likely as the readings make it (`clock`). It bends nothing.
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
    """Factors for the lower and the upper ends, by eight times of the wearer's day and by four ranges of glucose; `day`
    is how figures of a window usually are by the hour of the clock (`clock.figures`)."""

    version: str
    hours: tuple[tuple[float, ...], tuple[float, ...]]
    ranges: tuple[tuple[float, ...], tuple[float, ...]]
    day: tuple[tuple[float, ...], ...] = ()


@cache
def measured() -> Measured:
    """The committed numbers."""
    read = json.loads(FILE.read_text(encoding="utf-8"))
    (below, above), (low, high) = read["hours"], read["ranges"]
    day = tuple(tuple(figure) for figure in read["day"])
    return Measured(read["version"], (tuple(below), tuple(above)), (tuple(low), tuple(high)), day)


def vector(found: Measured, ahead_s: float) -> tuple[float, ...]:
    """What goes along with the windows of a wearer whose clock is so many seconds ahead of UTC.

    Vectors tell the time in UTC: between the middles of the eight times the numbers are those of the wearer's hour.
    """
    on_the_clock = [0.0] * VECTOR + [factor for end in found.hours for factor in end]
    middles = (np.arange(TIMES_OF_DAY) + 0.5) * DAY_S / TIMES_OF_DAY
    turned = personal.ends(on_the_clock, middles + ahead_s).T
    numbers = [0.0] * VECTOR + [*turned.ravel().tolist(), *(factor for end in found.ranges for factor in end)]
    return tuple(round(number, 5) for number in numbers)


def vector_of(found: Measured, likely: npt.ArrayLike) -> tuple[float, ...]:
    """The same for a clock that is 0, 1, ... 23 hours ahead, each with a likelihood: the mean of their numbers."""
    weights = np.asarray(likely, dtype=np.float64)
    numbers = np.array([vector(found, hours * 3600.0) for hours in range(len(weights))])
    return tuple(round(float(number), 5) for number in weights @ numbers)
