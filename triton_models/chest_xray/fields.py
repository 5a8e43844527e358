"""A radiograph with its tone evened out, and where its lungs lie, found by their darkness alone; no model, no files."""

from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Grey = npt.NDArray[np.uint8]
Field = tuple[slice, slice]

SIDE = 96
DEFAULT = (0.10, 0.88, 0.08, 0.92)
"""Top, bottom, left and right, as shares of the sides, of lungs that are not found."""
DARKER = (0.15, 0.35, 0.6)
"""How far below their surroundings lungs are, in deviations; the one that finds the two most alike counts."""
ALIKE = 0.3
PLAIN, STRETCH = 128, 48


def local_contrast(grey: Grey) -> Grey:
    """Each grey against the mean of a quarter of the image around it, in units of the spread there, around 128."""
    across, values = min(grey.shape) // 4 | 1, grey.astype(np.float64)
    apart = values - ndimage.uniform_filter(values, across, mode="mirror")
    spread = np.sqrt(np.maximum(ndimage.uniform_filter(apart**2, across, mode="mirror"), 0.0))
    made: Grey = np.clip(np.rint(PLAIN + STRETCH * apart / (spread + 6.0)), 0, 255).astype(np.uint8)
    return made


def lungs(grey: Grey) -> tuple[Field, bool]:
    """The rows and columns that both lungs lie in, and whether they were found; unfound ones get the usual place.

    Two dark patches of a lung's size are looked for, one on each side of the middle.
    """
    rows, columns = grey.shape
    small = ndimage.zoom(
        grey.astype(np.float64), (SIDE / rows, SIDE / columns), order=1, grid_mode=True, mode="nearest"
    )
    smooth = ndimage.gaussian_filter(small, 1.5)
    depth = ndimage.gaussian_filter(smooth, SIDE / 6) - smooth
    found = [pair for darker in DARKER if (pair := _pair(depth > darker * depth.std())) is not None]
    top, bottom, left, right = max(found)[1] if found else DEFAULT
    where = slice(round(top * rows), round(bottom * rows)), slice(round(left * columns), round(right * columns))
    return where, bool(found)


def _pair(dark: npt.NDArray[np.bool_]) -> tuple[float, tuple[float, float, float, float]] | None:
    """How alike in size the largest patches of both sides are (0-1), and their common box in shares of the side."""
    dark[[0, 1, -2, -1]] = False
    dark[:, [0, 1, -2, -1]] = False
    labels, _ = ndimage.label(ndimage.binary_opening(dark, iterations=2))
    sides: tuple[list[tuple[int, Field]], list[tuple[int, Field]]] = ([], [])
    for number, (down, along) in enumerate(ndimage.find_objects(labels), 1):
        patch = labels == number
        size, (y, x) = int(patch.sum()), ndimage.center_of_mass(patch)
        high, wide = down.stop - down.start, along.stop - along.start
        lung_sized = 0.025 <= size / SIDE**2 <= 0.28 and high >= SIDE / 4 and wide <= SIDE / 2
        at_edge = (along.start <= 3 or along.stop >= SIDE - 3) and wide < 0.16 * SIDE
        off_middle = abs(x / SIDE - 0.5)
        if lung_sized and not at_edge and 0.2 < y / SIDE < 0.75 and 0.05 < off_middle < 0.35:
            sides[int(x > SIDE / 2)].append((size, (down, along)))
    best = None
    for (one, first), (other, second) in product(*sides):
        box = (
            min(first[0].start, second[0].start) / SIDE,
            max(first[0].stop, second[0].stop) / SIDE,
            first[1].start / SIDE,
            second[1].stop / SIDE,
        )
        alike = min(one, other) / max(one, other)
        roomy = box[3] - box[2] >= 0.35 and box[1] - box[0] >= 0.3
        if alike >= ALIKE and roomy and (best is None or alike > best[0]):
            best = alike, box
    return best
