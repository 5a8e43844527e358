"""How much of a shaft's width is cortex on a radiograph's display greys, for research: nothing here validates it.

A stand-in for density that needs no calibration: greys of a display image are no density. Cortices are two bright
lines with a darker canal between them; a slanting cut widens both alike, so the bone need not lie straight.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from adapters.imaging import Grey8
from adapters.measuring import Floats, NotMeasured, shrunk, smoothed

METHOD: Final = "two cortices of the longest shaft across rows or columns, half heights, cortex over whole width"
VERSION: Final = "1"
LONGEST: Final = 512
NARROWEST: Final = 20.0
"""Pixels that a shaft is wide at least: below, its cortices are as thick as the blur (docs/research-fields.md)."""
WIDEST: Final = 0.2
STANDS_OUT: Final = 15.0
"""Greys that cortex is brighter than the soft tissue beside the bone."""
CANAL: Final = (0.2, 0.9)
"""Where between soft tissue (0) and cortex (1) the grey of the canal lies; a gap between two bones is soft tissue."""
STRETCH: Final = 0.06
SPREAD: Final = 0.15
STEP: Final = 2.0


@dataclass(frozen=True, slots=True)
class Cut:
    """One shaft cut across, in pixels; `cortex` is the share of the width."""

    middle: float
    width: float
    cortex: float


def cortical_ratio(shown: Grey8) -> float:
    """The median over the longest straight stretch of a shaft, 0 to 1; raises NotMeasured."""
    picture = shrunk(shown, LONGEST) if max(shown.shape) > LONGEST else shown
    side = max(picture.shape)
    if min(picture.shape) < NARROWEST:
        raise NotMeasured("the picture is too small")
    stretches = [stretch for way in (picture, picture.T) for stretch in _stretches(way, WIDEST * side)]
    longest = max(stretches, key=lambda stretch: (len(stretch), stretch[0].width), default=[])
    if len(longest) < STRETCH * side:
        raise NotMeasured("no shaft with two cortices is found that is long and, at 20 pixels, wide enough")
    low, middle, high = np.percentile([cut.cortex for cut in longest], (25, 50, 75))
    if high - low > SPREAD:
        raise NotMeasured("the thickness of the cortices varies along the shaft")
    return round(float(middle), 3)


def _stretches(picture: Grey8, widest: float) -> list[list[Cut]]:
    """Cuts that follow each other from row to row and hardly move or widen."""
    ended: list[list[Cut]] = []
    going: list[list[Cut]] = []
    for row in np.rint(smoothed(smoothed(picture, 5, 0), 3, 1)):  # whole greys: no peak is made of rounding
        cuts = [cut for cut in _cuts(row) if NARROWEST <= cut.width <= widest]
        near = sorted(
            (abs(cut.middle - stretch[-1].middle), place, number)
            for place, stretch in enumerate(going)
            for number, cut in enumerate(cuts)
            if abs(cut.middle - stretch[-1].middle) <= STEP
            and abs(cut.width - stretch[-1].width) <= max(1.0, 0.1 * cut.width)
        )
        goes_on: dict[int, int] = {}
        for _, place, number in near:
            if place not in goes_on and number not in goes_on.values():
                goes_on[place] = number
        ended += [stretch for place, stretch in enumerate(going) if place not in goes_on]
        new = [[cut] for number, cut in enumerate(cuts) if number not in goes_on.values()]
        going = [[*going[place], cuts[number]] for place, number in goes_on.items()] + new
    return ended + going


def _cuts(row: Floats) -> list[Cut]:
    """Two neighbouring peaks that stand out, with a canal between them."""
    starts = np.flatnonzero(np.concatenate([[True], np.diff(row) != 0]))
    ends = np.append(starts[1:], len(row)) - 1
    places, greys = (starts + ends) // 2, row[starts]  # of a level stretch, its middle
    rises = np.diff(greys) > 0
    before, after = np.concatenate([[False], rises]), np.concatenate([rises, [True]])
    # They take turns, and a valley (at the ends of the row too) comes first and last.
    valleys, peaks = places[~before & after], places[before & ~after]
    soft = np.maximum(row[valleys[:-2]], row[valleys[2:]])
    cortex = np.minimum(row[peaks[:-1]], row[peaks[1:]])
    canal = row[valleys[1:-1]] - soft
    low, high = (share * (cortex - soft) for share in CANAL)
    found = []
    for one in np.flatnonzero((cortex - soft >= STANDS_OUT) & (low <= canal) & (canal <= high)):
        left, inner_left = (_half(row, peaks[one], valleys[one + way]) for way in (0, 1))
        inner_right, right = (_half(row, peaks[one + 1], valleys[one + way]) for way in (1, 2))
        width = right - left
        found.append(Cut((left + right) / 2, width, (width - (inner_right - inner_left)) / width))
    return found


def _half(row: Floats, peak: int, low: int) -> float:
    """Where on the way from a peak down to `low` the grey has fallen by half."""
    way = np.arange(low, peak + 1) if low < peak else np.arange(low, peak - 1, -1)
    return float(np.interp((row[peak] + row[low]) / 2, row[way], way))
