"""From a model's map of places to what travels with an answer: a coarse heat map and its strongest regions.

Everything here is in shares of what the model was given; where that lies on the image is added with the answer.
"""

import math
from collections.abc import Iterator
from functools import cache

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.card import ModelCard
from schemas.events import Heat, Region
from schemas.findings import Finding

Grid = npt.NDArray[np.float64]

MOST_REGIONS = 3
FLAT = 1e-6


def located(card: ModelCard, finding: Finding, coarse: Grid, fine: Grid, *, peak: float, begins: float) -> Finding:
    """The finding with its heat map (`coarse`) and the regions of `fine`, which shows the same in smaller steps.

    Unchanged where the model answers that there is nothing, and where the map is flat or holds what is no number.
    `peak` (0-1) is how suspicious the most suspicious place is; a lesser region's score is lower in proportion to its
    height in the map. A region begins at `begins` of the way from the least to the most suspicious place (0-1).
    """
    low, high = float(fine.min()), float(fine.max())
    if (finding.label != card.positive_label and not finding.abstained) or not high - low > FLAT:
        return finding
    share = (fine - low) / (high - low)
    least, most = float(coarse.min()), float(coarse.max())
    percent = np.rint((coarse - least) * (100.0 / max(most - least, FLAT))).astype(int)
    heat = Heat(
        rows=coarse.shape[0],
        columns=coarse.shape[1],
        percent=tuple(percent.ravel().tolist()),
        view=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    )
    return msgspec.structs.replace(finding, heat=heat, regions=tuple(_regions(share, peak, begins)))


def enlarged(grid: Grid, factor: int) -> Grid:
    """The grid in `factor` times smaller steps, linear between the middles of its elements."""
    return _between(grid.shape[0], factor) @ grid @ _between(grid.shape[1], factor).T


def worst_of(grid: Grid, factor: int) -> Grid:
    """The grid in `factor` times larger steps, each the most suspicious of those in it."""
    rows, columns = grid.shape
    found: Grid = grid.reshape(rows // factor, factor, columns // factor, factor).max(axis=(1, 3))
    return found


def sigmoid(value: float) -> float:
    """The probability of log odds."""
    return 1.0 / (1.0 + math.exp(-min(max(value, -50.0), 50.0)))


@cache
def _between(length: int, factor: int) -> Grid:
    """The matrix of linear interpolation from `length` middles of steps to `factor` times as many."""
    at = np.clip((np.arange(length * factor) + 0.5) / factor - 0.5, 0.0, length - 1.0)
    return np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(length)))


def _regions(share: Grid, peak: float, begins: float) -> Iterator[Region]:
    """The boxes around the parts that are higher than `begins`, highest first."""
    rows, columns = share.shape
    width = columns + 1
    padded = np.zeros(rows * width + 1)  # a low column before each row and one place at the end: no run is cut off
    padded[:-1].reshape(rows, width)[:, 1:] = share
    heights = padded.tolist()
    parts = [(max(max(heights[start:end]) for start, end in part), part) for part in _parts(padded > begins, width)]
    parts.sort(key=lambda each: -each[0])
    for height, part in parts[:MOST_REGIONS]:
        x = (min(start % width for start, _ in part) - 1) / columns
        wide = (max((end - 1) % width for _, end in part)) / columns
        y, tall = part[0][0] // width / rows, (part[-1][0] // width + 1) / rows
        yield Region(score=round(peak * height, 4), outline=((x, y), (wide, y), (wide, tall), (x, tall)))


def _parts(high: npt.NDArray[np.bool_], width: int) -> list[list[tuple[int, int]]]:
    """What is connected of `high`, rows of `width` one after the other, as runs of places (first, last + 1) in order.

    Such that touch only at a corner are apart.
    """
    edges = ((high[1:] != high[:-1]).nonzero()[0] + 1).tolist()
    runs = list(zip(edges[::2], edges[1::2], strict=True))
    parts: list[list[int]] = []
    part_of: list[list[int]] = []
    for number, (start, end) in enumerate(runs):
        own = [number]
        part_of.append(own)
        parts.append(own)
        above = number - 1
        while above >= 0 and runs[above][1] > start - width:
            if runs[above][0] < end - width and (other := part_of[above]) is not own:
                _join(own, other, part_of, parts)
                own = part_of[number]
            above -= 1
    return [[runs[number] for number in sorted(part)] for part in parts]


def _join(own: list[int], other: list[int], part_of: list[list[int]], parts: list[list[int]]) -> None:
    """Two parts become one, the one that is there longer."""
    other += own
    for number in own:
        part_of[number] = other
    parts[:] = [part for part in parts if part is not own]
