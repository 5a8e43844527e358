"""From an otoscope photograph to the pixels that both otoscope models take; no files, no decoding, no model."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.errors import OutOfRange, Unprocessable

Colour = npt.NDArray[np.uint8]

PREPROCESSING_VERSION = "1.0.0"
SIDE = 128
SMALLEST = 96
LIT = 0.35
"""Share of the bright level (95th percentile) from which a pixel belongs to the lit field of view."""
LIT_SHARE = 0.12
"""Share of a row or column that must be lit for it to belong to the field."""
KEEP = 0.6
BLANK = 12
COLOURLESS = 3


def prepare(photograph: Colour) -> Colour:
    """uint8 [3, 128, 128] from uint8 rows x columns x 3 (sRGB).

    The square around the lit circle is cut out, resized, and what lies outside its inscribed circle becomes black, so
    that neither frame nor corners tell a class. Raises `Unprocessable` for anything but a uint8 colour image, and
    `OutOfRange` where it is smaller than 96 x 96, shows nothing or has no colour at all.
    """
    if photograph.dtype != np.uint8 or photograph.ndim != 3 or photograph.shape[2] != 3:
        raise Unprocessable("the model takes three colour channels of 8 bits")
    if min(photograph.shape[:2]) < SMALLEST:
        raise OutOfRange(f"{photograph.shape[0]} x {photograph.shape[1]} pixels are too few for an otoscope photograph")
    square = resize(field(photograph), SIDE)
    inside = square[disc(SIDE)]
    if int(np.ptp(inside)) < BLANK:
        raise OutOfRange("the photograph shows nothing: all of it is one colour")
    if int(np.ptp(inside, axis=1).max()) <= COLOURLESS:
        raise OutOfRange("the photograph has no colour: the model cannot judge a grey image")
    return np.ascontiguousarray(cover(square).transpose(2, 0, 1))


def field(photograph: Colour) -> Colour:
    """The square around the lit part of `photograph`, at least 60 % of its shorter side, never padded."""
    rows, columns = photograph.shape[:2]
    bright = photograph.max(axis=2)
    lit = bright > LIT * float(np.quantile(bright[::4, ::4], 0.95))
    top, bottom = _extent(lit.mean(axis=1))
    left, right = _extent(lit.mean(axis=0))
    shorter = min(rows, columns)
    side = int(np.clip(max(bottom - top, right - left), KEEP * shorter, shorter))
    first_row = int(np.clip((top + bottom - side) // 2, 0, rows - side))
    first_column = int(np.clip((left + right - side) // 2, 0, columns - side))
    return photograph[first_row : first_row + side, first_column : first_column + side]


def resize(square: Colour, side: int) -> Colour:
    """`square` as side x side, with an anti-aliased linear filter."""
    return np.asarray(Image.fromarray(square).resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0))


def disc(side: int) -> npt.NDArray[np.bool_]:
    """True inside the circle that fits into a square of `side` pixels."""
    away = np.arange(side) - (side - 1) / 2
    inside: npt.NDArray[np.bool_] = away[:, None] ** 2 + away[None, :] ** 2 <= (0.49 * side) ** 2
    return inside


def cover(square: Colour) -> Colour:
    """`square` [side, side, 3] with black corners outside its inscribed circle."""
    return square * disc(square.shape[0])[:, :, None].astype(np.uint8)


def _extent(share: npt.NDArray[np.float64]) -> tuple[int, int]:
    busy = np.flatnonzero(share > LIT_SHARE)
    return (int(busy[0]), int(busy[-1]) + 1) if len(busy) else (0, len(share))
