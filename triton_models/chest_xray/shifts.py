"""Named, deterministic changes of machine and exposure that choose and test a checkpoint; never used to train it."""

import io
import zlib
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Grey = npt.NDArray[np.uint8]
Shift = Callable[[Grey], Grey]


def _curve(function: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]) -> Shift:
    table = np.rint(np.clip(function(np.arange(256) / 255.0), 0.0, 1.0) * 255.0).astype(np.uint8)
    return lambda image: table[image]


def _noisy(image: Grey) -> Grey:
    rng = np.random.default_rng(zlib.crc32(image.tobytes()))
    return np.clip(np.rint(image + rng.normal(0.0, 10.0, image.shape)), 0, 255).astype(np.uint8)


def _blurred(image: Grey) -> Grey:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1.2)))


def _sharpened(image: Grey) -> Grey:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.UnsharpMask(8.0, 150, 0)))


def _coarse(image: Grey) -> Grey:
    rows, columns = image.shape
    small = Image.fromarray(image).resize((columns // 2, rows // 2), Image.Resampling.BOX)
    return np.asarray(small.resize((columns, rows), Image.Resampling.BILINEAR))


def _compressed(image: Grey) -> Grey:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=30)
    return np.asarray(Image.open(buffer))


def _cropped(image: Grey) -> Grey:
    rows, columns = image.shape
    return image[rows // 12 : rows - rows // 12, columns // 12 : columns - columns // 12]


def _stretched(image: Grey) -> Grey:
    rows, columns = image.shape
    return np.asarray(Image.fromarray(image).resize((round(columns * 1.3), rows), Image.Resampling.BILINEAR))


def _bordered(image: Grey) -> Grey:
    rows, columns = image.shape
    return np.pad(image, ((rows // 12, rows // 12), (columns // 12, columns // 12)))


def _equalised(image: Grey) -> Grey:
    levels = np.cumsum(np.bincount(image.ravel(), minlength=256)) / image.size
    return np.rint(levels * 255.0).astype(np.uint8)[image]


SHIFTS: Mapping[str, Shift] = {
    "as delivered": lambda image: image,
    "dark": _curve(lambda level: level**1.7),
    "bright": _curve(lambda level: level**0.6),
    "flat": _curve(lambda level: 0.25 + 0.5 * level),
    "hard window": _curve(lambda level: (level - 0.15) / 0.65),
    "equalised": _equalised,
    "noise": _noisy,
    "blur": _blurred,
    "edge enhanced": _sharpened,
    "half resolution": _coarse,
    "JPEG 30": _compressed,
    "cropped": _cropped,
    "stretched": _stretched,
    "black border": _bordered,
}
