"""What measurements of display greys have in common: one size, means of neighbours, and that there is no value."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from adapters.imaging import Grey8

Floats = npt.NDArray[np.float32]


class NotMeasured(Exception):
    """There is no value; the text says why, for a person."""


def shrunk(shown: Grey8, side: int) -> Grey8:
    """`shown` with a longer side of `side` pixels, by means of areas."""
    rows, columns = shown.shape
    scale = side / max(rows, columns)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    how = Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(shown).resize(size, how))


def smoothed(picture: npt.NDArray[Any], window: int, axis: int) -> Floats:
    """Means of `window` (odd) neighbours along an axis; the picture's edges go on outside."""
    margins = [(window // 2, window // 2) if each == axis else (0, 0) for each in (0, 1)]
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(picture, margins, mode="edge"), window, axis=axis)
    means: Floats = windows.mean(axis=-1, dtype=np.float32)
    return means
