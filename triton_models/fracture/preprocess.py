"""From the display greys of a limb's radiograph to the pixels that the model takes; no files, no model."""

import numpy as np

from schemas.errors import OutOfRange, Unprocessable
from triton_models.fracture.framing import COLUMNS, ROWS, STRIDE, Frame, Grey, draw, find_limb, onto_canvas

__all__ = ["COLUMNS", "PREPROCESSING_VERSION", "ROWS", "STRIDE", "prepare", "prepare_seen"]

PREPROCESSING_VERSION = "1.1.0"
BLANK = 8


def prepare(display: Grey) -> Grey:
    """uint8 [1, 416, 256] from uint8 rows x columns as a person would see them (bone white, air black).

    The window around the limb is drawn onto the canvas without distortion, on its side where it is wider than tall.
    Raises `Unprocessable` for anything but a two-dimensional uint8 image, and `OutOfRange` where it is smaller than
    64 x 64 or shows nothing.
    """
    return prepare_seen(display)[0]


def prepare_seen(display: Grey) -> tuple[Grey, tuple[float, ...]]:
    """What `prepare` gives, and where on the image it lies (`schemas.events.Heat.view`)."""
    if display.dtype != np.uint8 or display.ndim != 2:
        raise Unprocessable("the model takes one grey channel of 8 bits")
    if min(display.shape) < 64:
        raise OutOfRange(f"{display.shape[0]} x {display.shape[1]} pixels are too few for a radiograph")
    if int(np.ptp(display)) < BLANK:
        raise OutOfRange("the image shows nothing: all of it is one grey")
    frame = find_limb(display)
    return draw(display, onto_canvas(frame), ROWS, COLUMNS, frame.fill)[None], _view(frame, display)


def _view(frame: Frame, display: Grey) -> tuple[float, ...]:
    """The way from canvas to image in shares of their sides instead of pixels."""
    a, b, c, d, e, f = onto_canvas(frame)
    rows, columns = display.shape
    return (
        a * COLUMNS / columns,
        b * ROWS / columns,
        c / columns,
        d * COLUMNS / rows,
        e * ROWS / rows,
        f / rows,
    )
