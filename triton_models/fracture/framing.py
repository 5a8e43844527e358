"""Where on a radiograph the limb is, and how that part comes onto the model's canvas; no tensors, no labels."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

ROWS, COLUMNS = 416, 256
STRIDE = 8
"""Canvas pixels an element of the map of places."""
LOOK_SIDE = 256
"""The longer side, in pixels, of the small copy on which the limb is looked for."""
STRIP_DEPTH = 0.2
STRIP_SHARE = 0.7
MARGIN = 0.04
SMALLEST_SHARE = 0.05
DIM = 0.7
"""How far from the background to the dividing grey a limb begins: a thin arm beside a trunk is dim."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A window of the image, in its pixels; `turned` where it is wider than tall and goes on the canvas on its side.

    The window may reach beyond the image: what lies outside is filled with `fill`.
    """

    left: float
    top: float
    width: float
    height: float
    turned: bool
    fill: int


def find_limb(display: Grey) -> Frame:
    """The window around everything brighter than the background, widened to the canvas's shape.

    Bright strips along an edge (collimation, the edge of a cassette) are left out. Where nothing stands out the whole
    image is the window.
    """
    rows, columns = display.shape
    share = min(1.0, LOOK_SIDE / max(rows, columns))
    size = (max(8, round(columns * share)), max(8, round(rows * share)))
    small = np.asarray(Image.fromarray(display).resize(size, Image.Resampling.BOX))
    ground = float(np.percentile(small, 5))
    bright = _opened(small > ground + DIM * (_otsu(small) - ground))
    top, bottom = _extent(bright, axis=1)
    left, right = _extent(bright[top:bottom], axis=0)
    if (bottom - top) * (right - left) < SMALLEST_SHARE * small.size:
        top, bottom, left, right = 0, size[1], 0, size[0]
    spare = MARGIN * max(size)
    top, bottom = max(0.0, top - spare) / size[1] * rows, min(size[1], bottom + spare) / size[1] * rows
    left, right = max(0.0, left - spare) / size[0] * columns, min(size[0], right + spare) / size[0] * columns
    seen = display[int(top) : int(bottom) + 1, int(left) : int(right) + 1]
    return _widened(left, top, right - left, bottom - top, display.shape, int(np.percentile(seen, 5)))


def onto_canvas(frame: Frame) -> tuple[float, ...]:
    """The affine of PIL's `transform`: from canvas (x, y) to image (x, y)."""
    if frame.turned:  # canvas x runs down the image, canvas y runs right to left
        down, across = frame.height / COLUMNS, frame.width / ROWS
        return (0.0, -across, frame.left + frame.width, down, 0.0, frame.top)
    return (frame.width / COLUMNS, 0.0, frame.left, 0.0, frame.height / ROWS, frame.top)


def draw(display: Grey, affine: tuple[float, ...], rows: int, columns: int, fill: int) -> Grey:
    """`display` seen through `affine` (canvas to image) as rows x columns; what is shrunk is averaged first."""
    step = float(np.hypot(affine[0], affine[3]))
    factor = max(1, int(step / 1.5))
    picture: Any = Image.fromarray(display)
    if factor > 1:
        picture = picture.reduce(factor)
        affine = tuple(value / factor for value in affine)
    moved = picture.transform(
        (columns, rows), Image.Transform.AFFINE, affine, resample=Image.Resampling.BILINEAR, fillcolor=fill
    )
    return np.asarray(moved)


def _widened(left: float, top: float, width: float, height: float, shape: tuple[int, ...], fill: int) -> Frame:
    """The smallest window of the canvas's shape around the given one, moved into the image as far as it goes."""
    turned = width > height
    tall_by_wide = COLUMNS / ROWS if turned else ROWS / COLUMNS
    wide, tall = max(width, height / tall_by_wide), max(height, width * tall_by_wide)
    x = _inside(left + (width - wide) / 2, wide, shape[1])
    y = _inside(top + (height - tall) / 2, tall, shape[0])
    return Frame(x, y, wide, tall, turned, fill)


def _inside(start: float, length: float, available: int) -> float:
    if length >= available:
        return (available - length) / 2
    return min(max(start, 0.0), available - length)


def _otsu(small: Grey) -> int:
    """The grey that divides the image into two kinds with the least spread within them."""
    counts = np.bincount(small.ravel(), minlength=256).astype(np.float64)
    below, sums = np.cumsum(counts), np.cumsum(counts * np.arange(256))
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return int(np.argmax(np.nan_to_num(between)))


def _opened(bright: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Without what is thinner than three pixels: scratches and the outline of the plate."""
    padded = np.pad(bright, 1)
    kept = bright.copy()
    for y in range(3):
        for x in range(3):
            kept &= padded[y : y + bright.shape[0], x : x + bright.shape[1]]
    return kept


def _extent(bright: npt.NDArray[np.bool_], axis: int) -> tuple[int, int]:
    """First and last + 1 line along the other axis that show something, bright strips at either end left out."""
    share = bright.mean(axis=axis)
    first, last = _strip(share), len(share) - _strip(share[::-1])
    busy = np.flatnonzero(share[first:last] > 0.01)
    if not len(busy):
        return 0, len(share)
    return first + int(busy[0]), first + int(busy[-1]) + 1


def _strip(share: Floats) -> int:
    """How many lines at the start are a bright strip that ends at once; 0 for anatomy that runs over the edge."""
    depth = int(len(share) * STRIP_DEPTH)
    full = np.flatnonzero(share[:depth] > STRIP_SHARE)
    if not len(full):
        return 0
    end = int(full[-1]) + 1
    after = share[end + 2 : end + 8]
    return end + 2 if len(after) and float(after.max()) < STRIP_SHARE - 0.2 else 0
