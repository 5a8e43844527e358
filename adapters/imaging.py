"""Decoded images and what is done with their pixels: stored values, display greys, identity; no network, no model.

Reading DICOM bytes is in `adapters.dicom_reading`; whether a model wants an image is decided by its card.
"""

import hashlib
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from schemas.errors import Unprocessable

Pixels = npt.NDArray[Any]
Grey8 = npt.NDArray[np.uint8]
Colour8 = npt.NDArray[np.uint8]
WindowFunction = Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"]

MAX_PIXELS = 100_000_000
"""Largest rows x columns that is decoded: a 0.05 mm 43 x 43 cm plate has 74 million; 16-bit this is 200 MB."""

PICTURE_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
ORIENTATION = 0x0112
"""The EXIF tag that says how a camera was held; 5 to 8 exchange rows and columns."""

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What routing and identity need of an object, without names and numbers of people.

    Empty text means not stated. `body_part` is a Defined Term such as CHEST, read from Body Part Examined, the
    anatomic region or the descriptions, in this order. `patient_age_years` is None where it cannot be told.
    `requested_priority` is Requested Procedure Priority (0040,1003), upper case. `has_pixels` is False for objects
    that hold none by nature (reports, plans, directories). `laterality` is left or right where it is known.
    """

    sop_instance_uid: str = ""
    sop_class_uid: str = ""
    transfer_syntax_uid: str = ""
    modality: str = ""
    body_part: str = ""
    view_position: str = ""
    patient_age_years: float | None = None
    rows: int = 0
    columns: int = 0
    frames: int = 1
    has_pixels: bool = False
    presentation_intent: str = ""
    manufacturer: str = ""
    implementation_class_uid: str = ""
    requested_priority: str = ""
    laterality: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """One window of PS3.3 C.11.2.1.2, in units after the modality transformation; `width` > 0."""

    center: float
    width: float
    function: WindowFunction = "LINEAR"


@dataclass(frozen=True, slots=True)
class Table:
    """A look-up table of PS3.3 C.11.1 or C.11.2: the value of input `first` is `entries[0]`, ends extend."""

    first: int
    entries: npt.NDArray[np.uint16]
    bits: int

    def apply(self, values: Pixels) -> npt.NDArray[np.float64]:
        """`entries` for values of any shape."""
        place = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1).astype(np.int64)
        looked_up: npt.NDArray[np.float64] = self.entries[place].astype(np.float64)
        return looked_up


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """One frame: stored values as rows x columns [x 3], what turns them into greys, and where they come from.

    `photometric` is MONOCHROME1, MONOCHROME2 or RGB: palettes and YBR are already resolved to RGB. `stored` is
    uint8/16, int8/16/32 or float; values use `bits_stored` bits. `frames` counts those of the object; of several,
    the first is decoded.
    """

    stored: Pixels
    photometric: str
    bits_stored: int
    header: ImageHeader
    slope: float = 1.0
    intercept: float = 0.0
    modality_table: Table | None = None
    window: Window | None = None
    voi_table: Table | None = None
    padding: tuple[float, float] | None = None
    frames: int = 1
    notes: tuple[str, ...] = field(default=())

    def values(self) -> npt.NDArray[np.float64]:
        """The frame after the modality transformation (Hounsfield units for CT), float64, same shape as `stored`."""
        return modality_values(self, self.stored)


def modality_values(image: DecodedImage, stored: Pixels) -> npt.NDArray[np.float64]:
    """Stored values as modality values: the table if there is one, else slope and intercept (PS3.3 C.11.1)."""
    if image.modality_table is not None:
        return image.modality_table.apply(stored)
    return stored.astype(np.float64) * image.slope + image.intercept


def pixel_hash(image: DecodedImage) -> str:
    """sha256 of the stored values with their shape and photometric meaning, as hex.

    Equal for the same image in another lossless transfer syntax, byte order or allocated width; headers play no part.
    """
    stored = image.stored
    if stored.dtype.kind == "f":
        plain = stored.astype("<f8")
    else:
        low, high = (int(stored.min()), int(stored.max())) if stored.size else (0, 0)
        kind = "<u2" if low >= 0 and high <= 0xFFFF else "<i2" if low >= -0x8000 and high < 0x8000 else "<i8"
        plain = stored.astype(kind, copy=False)
    digest = hashlib.sha256(f"{image.photometric}:{stored.shape}:{image.frames}:{plain.dtype.str}".encode())
    digest.update(np.ascontiguousarray(plain).data.cast("B"))
    return digest.hexdigest()


def to_display(image: DecodedImage) -> Grey8:
    """The frame as a person would see it: uint8 rows x columns, 0 black.

    Modality transformation, then the VOI table or first window (PS3.3 C.11.2; without one the stored range of 8-bit
    images and the 0.1 to 99.9 percentile of deeper ones), then MONOCHROME1 inverted. Colour becomes luma (ITU-R 601).
    """
    if image.stored.ndim == 3:
        greys: npt.NDArray[np.float32] = image.stored.astype(np.float32) @ LUMA
        shown: Grey8 = np.clip(np.rint(greys * (255.0 / (2**image.bits_stored - 1))), 0, 255).astype(np.uint8)
        return shown
    if image.stored.dtype.kind in "ui" and image.stored.dtype.itemsize <= 2:
        return _by_table(image)
    return _finish(image, _shown(image, image.stored, None))


def to_colour(image: DecodedImage) -> Colour8 | None:
    """The frame as uint8 sRGB, rows x columns x 3; None where it has no colour: one channel, or three equal ones.

    Deeper values keep their upper 8 bits, rounded. A colour profile in the object is not applied.
    """
    stored = image.stored
    if stored.ndim != 3:
        return None
    if (stored[..., 0] == stored[..., 1]).all() and (stored[..., 0] == stored[..., 2]).all():
        return None
    if stored.dtype == np.uint8 and image.bits_stored == 8:
        return np.ascontiguousarray(stored)
    scaled = np.rint(stored.astype(np.float32) * (255.0 / (2**image.bits_stored - 1)))
    shown: Colour8 = np.clip(scaled, 0, 255).astype(np.uint8)
    return shown


def _by_table(image: DecodedImage) -> Grey8:
    """Greys through a table over the values that occur: 5 million 16-bit pixels cost 20 ms instead of 300."""
    stored = image.stored
    low = int(stored.min())
    offset = stored if low == 0 and stored.dtype.kind == "u" else (stored.astype(np.int32) - low).astype(np.uint16)
    counts = np.bincount(offset.ravel())
    levels = np.arange(low, low + len(counts), dtype=np.int64)
    table = _finish(image, _shown(image, levels, counts))
    greys: Grey8 = np.take(table, offset)
    return greys


def _shown(image: DecodedImage, levels: Pixels, counts: npt.NDArray[np.int64] | None) -> npt.NDArray[np.float64]:
    """Brightness 0-1 of stored `levels`, of which each occurs `counts` times (once each if None)."""
    values = modality_values(image, levels)
    background = np.zeros(levels.shape, dtype=bool)
    if image.padding is not None:
        background = (levels >= image.padding[0]) & (levels <= image.padding[1])
    shown = None
    if image.voi_table is not None:
        shown = image.voi_table.apply(values) / (2**image.voi_table.bits - 1)
    elif image.window is not None:
        shown = windowed(values, image.window)
    occurs = ~background if counts is None else ~background & (counts > 0)
    if shown is None or not occurs.any() or float(np.ptp(shown[occurs])) < 1 / 255:
        shown = _stretched(image, values, occurs, counts)
    if background.any():
        shown = np.where(background, 1.0 if image.photometric == "MONOCHROME1" else 0.0, shown)
    return np.clip(shown, 0.0, 1.0)


def windowed(values: npt.NDArray[np.float64], window: Window) -> npt.NDArray[np.float64]:
    """Brightness 0-1 of modality values by one window (PS3.3 C.11.2.1.2.1 and C.11.2.1.3)."""
    center, width = window.center, window.width
    if window.function == "SIGMOID":
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -60.0, 60.0)))
    if window.function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    if width <= 1.0:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)


def _stretched(
    image: DecodedImage,
    values: npt.NDArray[np.float64],
    occurs: npt.NDArray[np.bool_],
    counts: npt.NDArray[np.int64] | None,
) -> npt.NDArray[np.float64]:
    if image.bits_stored <= 8 and image.stored.dtype.kind == "u" and image.modality_table is None:
        low, high = sorted((image.intercept, image.intercept + image.slope * (2**image.bits_stored - 1)))
    elif not occurs.any():
        return np.zeros(values.shape)
    else:
        seen = values[occurs]
        weight = np.ones(len(seen)) if counts is None else counts[occurs].astype(np.float64)
        order = np.argsort(seen, kind="stable")
        share = np.cumsum(weight[order]) / weight.sum()
        last = len(order) - 1
        low = float(seen[order[min(int(np.searchsorted(share, 0.001)), last)]])
        high = float(seen[order[min(int(np.searchsorted(share, 0.999)), last)]])
    if high <= low:
        return np.zeros(values.shape)
    stretched: npt.NDArray[np.float64] = np.clip((values - low) / (high - low), 0.0, 1.0)
    return stretched


def _finish(image: DecodedImage, shown: npt.NDArray[np.float64]) -> Grey8:
    if image.photometric == "MONOCHROME1":
        shown = 1.0 - shown
    return np.rint(shown * 255.0).astype(np.uint8)


def decode_picture(data: bytes, formats: Sequence[str] = PICTURE_FORMATS) -> DecodedImage:
    """A picture of one of `formats`; `Unprocessable` says what is wrong with it.

    Camera orientation is applied, transparency is laid over black, 16-bit greys stay 16-bit.
    """
    with _opened(data, formats) as opened:
        frames = int(getattr(opened, "n_frames", 1))
        stored, bits = _picture_values(ImageOps.exif_transpose(opened))
    rows, columns = stored.shape[:2]
    header = ImageHeader(rows=rows, columns=columns, frames=frames, has_pixels=True)
    photometric = "RGB" if stored.ndim == 3 else "MONOCHROME2"
    return DecodedImage(stored, photometric, bits, header, frames=frames)


def picture_size(data: bytes, formats: Sequence[str] = PICTURE_FORMATS) -> tuple[int, int, int]:
    """(rows, columns, frames) that a picture announces, upright; its pixels are not decoded. Raises Unprocessable."""
    with _opened(data, formats) as opened:
        turned = opened.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
        rows, columns = (opened.width, opened.height) if turned else (opened.height, opened.width)
        return rows, columns, int(getattr(opened, "n_frames", 1))


@contextmanager
def _opened(data: bytes, formats: Sequence[str]) -> Iterator[Image.Image]:
    """The picture, with everything that Pillow says of hostile bytes turned into Unprocessable."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is judged below, by our own limit
            with Image.open(io.BytesIO(data), formats=list(formats)) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    size = f"{opened.width} x {opened.height}"
                    raise Unprocessable(f"the picture has {size} pixels, more than {MAX_PIXELS}")
                yield opened
    except UnidentifiedImageError:
        raise Unprocessable(f"not a picture: the bytes are none of {', '.join(formats)}") from None
    except Image.DecompressionBombError:
        raise Unprocessable(f"the picture announces more than {MAX_PIXELS} pixels") from None
    except (OSError, ValueError, SyntaxError, EOFError, MemoryError) as error:
        raise Unprocessable(f"the picture is damaged or cut off ({type(error).__name__})") from error


def _picture_values(picture: Image.Image) -> tuple[Pixels, int]:
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L")), 8
    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.uint16), 16
    if picture.mode == "I":
        return np.clip(np.asarray(picture), 0, 0xFFFF).astype(np.uint16), 16
    if picture.mode in ("F",):
        raise Unprocessable("pictures of floating-point values are not supported")
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        coloured = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", coloured.size, (0, 0, 0, 255)), coloured)
    colours = np.asarray(picture.convert("RGB"))
    if (colours[..., 0] == colours[..., 1]).all() and (colours[..., 0] == colours[..., 2]).all():
        return np.ascontiguousarray(colours[..., 0]), 8
    return colours, 8
