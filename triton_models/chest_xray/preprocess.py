"""From the display greys of a radiograph to the pixels that the model takes; no files, no decoding, no model."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.errors import OutOfRange, Unprocessable

Grey = npt.NDArray[np.uint8]

PREPROCESSING_VERSION = "1.0.0"
SIDE = 128
STRIDE = 32
"""Pixels of the input an element of the map of places."""
MAX_ASPECT = 1.25
FLAT = 6
"""Grey levels within which an outer row or column counts as padding: JPEG leaves up to 5 on black bars."""
KEEP = 0.6
BLANK = 8


def prepare(display: Grey) -> Grey:
    """uint8 [1, 128, 128] from uint8 rows x columns as a person would see them (bone white, air black).

    Flat bars around the picture go, then what is longer than 5:4 loses its ends, then it is resized without regard to
    the rest of the aspect: training stretches images by up to 1.3 either way, so neither bars nor shape tell a class.
    Raises `Unprocessable` for anything but a two-dimensional uint8 image, and `OutOfRange` where it is smaller than
    32 x 32 or shows nothing.
    """
    return prepare_seen(display)[0]


def prepare_seen(display: Grey) -> tuple[Grey, tuple[float, ...]]:
    """What `prepare` gives, and where on the image it lies (`schemas.events.Heat.view`)."""
    if display.dtype != np.uint8 or display.ndim != 2:
        raise Unprocessable("the model takes one grey channel of 8 bits")
    if min(display.shape) < 32:
        raise OutOfRange(f"{display.shape[0]} x {display.shape[1]} pixels are too few for a radiograph")
    bars = content(display)
    trimmed = display[bars]
    ends = middle(trimmed)
    view = trimmed[ends]
    if int(np.ptp(view)) < BLANK:
        raise OutOfRange("the image shows nothing: all of it is one grey")
    resized = Image.fromarray(view).resize((SIDE, SIDE), Image.Resampling.BILINEAR, reducing_gap=3.0)
    rows, columns = display.shape
    left, top = bars[1].start + ends[1].start, bars[0].start + ends[0].start
    where = (view.shape[1] / columns, 0.0, left / columns, 0.0, view.shape[0] / rows, top / rows)
    return np.asarray(resized)[None], where


def content(display: Grey) -> tuple[slice, slice]:
    """The rows and columns of `display` without its flat outer ones; at least 60 % of each side stays."""
    rows = slice(*_content(np.ptp(display, axis=1)))
    return rows, slice(*_content(np.ptp(display[rows], axis=0)))


def _content(spread: Grey) -> tuple[int, int]:
    busy = np.flatnonzero(spread > FLAT)
    length = len(spread)
    if not len(busy):
        return 0, length
    first, last = int(busy[0]), int(busy[-1]) + 1
    if last - first < KEEP * length:
        return 0, length
    return first, last


def middle(display: Grey) -> tuple[slice, slice]:
    """The rows and columns in the middle of `display`, the longer side at most 1.25 times the shorter."""
    rows, columns = display.shape
    longest = int(min(rows, columns) * MAX_ASPECT)
    top, left = max(0, rows - longest) // 2, max(0, columns - longest) // 2
    return slice(top, top + min(rows, longest)), slice(left, left + min(columns, longest))
