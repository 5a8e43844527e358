"""The cardiothoracic ratio of a frontal chest radiograph's display greys, for research: nothing here validates it.

Widest transverse heart over widest inner thorax (Danzer 1919), between the borders of two dark fields. Without them,
or where they do not look like two whole lungs, there is no value but a reason.
"""

import heapq
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.chest_look import inside
from adapters.imaging import Grey8
from adapters.measuring import Floats, NotMeasured, shrunk, smoothed

METHOD: Final = "lung fields flooded to their strongest edge, widest heart over widest inner thorax"
VERSION: Final = "1"
SIDE: Final = 160
"""Pixels of the longer side on which all is measured: a ratio is then known to about 0.01."""
LEAST_RANGE: Final = 20
FLATTENED: Final = 0.7
"""Share of the wide mean (a quarter of the picture) that is taken off, so that fields under more tissue stay dark."""
LEVELS: Final = 24
LEAST_FIELD: Final = 0.03
ALIKE: Final = 2.5
EVEN: Final = 1.4
HEART: Final = (0.45, 0.95)
"""Shares of the height of the fields between which the heart lies: hila above, below corners rounded by smoothing."""
DIAPHRAGM_FROM: Final = 0.7
DIAPHRAGM: Final = 1.5
"""Columns a row that the inner border of a field runs outwards where it is no heart any more but the diaphragm."""

Columns = npt.NDArray[np.intp]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Chest:
    """The borders of a chest, in columns of the picture that was measured."""

    heart: tuple[int, int]
    thorax: tuple[int, int]

    @property
    def ratio(self) -> float:
        """Width of the heart over that of the thorax."""
        return (self.heart[1] - self.heart[0]) / (self.thorax[1] - self.thorax[0])


def cardiothoracic_ratio(shown: Grey8) -> float:
    """The ratio, 0 to 1; raises NotMeasured."""
    found = borders(shrunk(inside(shown), SIDE))
    if not 0.25 < found.ratio < 0.75:
        raise NotMeasured("the fields found are no lungs: the heart between them would be out of all proportion")
    return round(found.ratio, 3)


def borders(picture: Grey8) -> Chest:
    """Where heart and thorax end in a picture of about 160 pixels; raises NotMeasured."""
    if np.ptp(picture) < LEAST_RANGE or min(picture.shape) < SIDE // 2:
        raise NotMeasured("the picture shows too little, or is too narrow, for two lungs")
    spine, right, left = _fields(picture)
    rows = np.flatnonzero(right.any(axis=1) & left.any(axis=1))
    heights = [np.flatnonzero(field.any(axis=1)) for field in (right, left)]
    if len(rows) < 0.3 * len(picture) or len(rows) < 0.6 * max(len(height) for height in heights):
        raise NotMeasured("the two lung fields do not lie side by side")
    height = int(rows[-1] - rows[0])
    if abs(int(heights[0][-1] - heights[1][-1])) > 0.2 * height:
        raise NotMeasured("the two lung fields do not end at about the same level")
    inner = (_last(right), _first(left))
    heart = [_furthest(edge[rows[0] : rows[-1] + 1], outwards) for edge, outwards in zip(inner, (-1, 1), strict=True)]
    outer = (_first(right), _last(left))
    level = int(rows[np.argmax((outer[1] - outer[0])[rows])])
    if level < rows[0] + 0.6 * height:
        raise NotMeasured("the thorax does not widen downwards: parts of the lung fields were not found")
    found = Chest((heart[0], heart[1]), (int(outer[0][level]), int(outer[1][level])))
    halves = spine - found.thorax[0], found.thorax[1] - spine
    if max(halves) > EVEN * min(halves):
        raise NotMeasured("the thorax is not about as wide on both sides of the spine")
    return found


def _fields(picture: Grey8) -> tuple[int, Mask, Mask]:
    """The column of the spine, and the dark fields left and right of it in the picture; raises NotMeasured."""
    rows, columns = picture.shape
    # Ribs run across: means down the picture take them out, the borders of the heart stay.
    soft = smoothed(smoothed(smoothed(picture, 5, 1), 13, 0), 7, 0)
    middle = int(0.3 * columns)
    spine = middle + int(np.argmax(soft[rows // 5 : int(0.6 * rows), middle : columns - middle].mean(axis=0)))
    wide = 2 * (columns // 4) + 1, 2 * (rows // 4) + 1
    soft = soft - FLATTENED * smoothed(smoothed(smoothed(picture, wide[0], 1), wide[1], 0), wide[0], 1)
    steep = np.hypot(*np.gradient(soft))
    fields = np.zeros((2, rows, columns), dtype=bool)
    fields[0, :, :spine] = _field(soft[:, spine - 1 :: -1], steep[:, spine - 1 :: -1], columns)[:, ::-1]
    fields[1, :, spine + 1 :] = _field(soft[:, spine + 1 :], steep[:, spine + 1 :], columns)
    sizes = fields.sum(axis=(1, 2))
    if sizes.max() > ALIKE * sizes.min():
        raise NotMeasured("one lung field is more than 2.5 times as large as the other")
    return spine, fields[0], fields[1]


def _field(soft: Floats, steep: Floats, columns: int) -> Mask:
    """The dark field of one half, its inner side first, out of `columns` of both; raises NotMeasured.

    Flooded from its darkest place: of the levels at which it touches no side of the half, the one with the steepest
    edge (and, of two alike, the larger field) is taken.
    """
    rows = len(soft)
    near, far = int(0.1 * columns), int(0.3 * columns)
    begins = soft[rows // 4 : int(0.6 * rows), near:far]
    if not begins.size:
        raise NotMeasured("the spine is not near the middle of the picture")
    row, column = np.unravel_index(int(np.argmin(begins)), begins.shape)
    seed = int(row) + rows // 4, int(column) + near
    level = _flooded(soft, seed)
    full = min(float(side.min()) for side in (level[0], level[-1], level[:, 0], level[:, -1]))
    best = 0.0
    taken: Mask | None = None
    for each in np.linspace(soft[seed], full, LEVELS + 2)[1:-1]:
        field: Mask = level <= each
        size = int(field.sum())
        if size < LEAST_FIELD * rows * columns:
            continue
        beside = np.pad(field, 1)
        edge = field & ~(beside[2:, 1:-1] & beside[:-2, 1:-1] & beside[1:-1, 2:] & beside[1:-1, :-2])
        worth = float(steep[edge].mean()) * size**0.5
        if worth > best:
            best, taken = worth, field
    if taken is None:
        raise NotMeasured("no dark field is enclosed on each side of the spine")
    return taken


def _flooded(soft: Floats, seed: tuple[int, int]) -> npt.NDArray[np.float64]:
    """For each place the height that water rising at `seed` reaches before it comes there."""
    rows, columns = soft.shape
    ground = np.pad(soft.astype(np.float64), 1, constant_values=np.inf).ravel().tolist()
    wide = columns + 2
    level = [np.inf] * len(ground)
    start = (seed[0] + 1) * wide + seed[1] + 1
    level[start] = ground[start]
    shore = [(ground[start], start)]
    while shore:
        height, place = heapq.heappop(shore)
        for beside in (place - 1, place + 1, place - wide, place + wide):
            reached = max(height, ground[beside])
            if reached < level[beside]:
                level[beside] = reached
                heapq.heappush(shore, (reached, beside))
    return np.array(level).reshape(rows + 2, wide)[1:-1, 1:-1]


def _furthest(edge: Columns, outwards: int) -> int:
    """The outermost column of the heart in the inner border of a field; it ends where the diaphragm begins."""
    begin, low, end = (int(share * len(edge)) for share in (HEART[0], DIAPHRAGM_FROM, HEART[1]))
    turned = np.flatnonzero(outwards * (edge[low + 4 : end] - edge[low : end - 4]) > 4 * DIAPHRAGM)
    heart = edge[begin : low + int(turned[0]) + 1 if len(turned) else end]
    return int((outwards * heart).max()) * outwards


def _first(field: Mask) -> Columns:
    """The first column of a field in each row."""
    columns: Columns = field.argmax(axis=1)
    return columns


def _last(field: Mask) -> Columns:
    """The column after the last of a field in each row."""
    columns: Columns = field.shape[1] - field[:, ::-1].argmax(axis=1)
    return columns
