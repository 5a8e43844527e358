"""Named, deterministic changes of lamp, camera and hand that choose and test a checkpoint; never used to train it."""

import io
import zlib
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Colour = npt.NDArray[np.uint8]
Shift = Callable[[Colour], Colour]


def _curve(function: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]) -> Shift:
    table = np.rint(np.clip(function(np.arange(256) / 255.0), 0.0, 1.0) * 255.0).astype(np.uint8)
    return lambda image: table[image]


def _gains(red: float, green: float, blue: float) -> Shift:
    gains = np.array([red, green, blue])
    return lambda image: np.rint(np.clip(image * gains, 0, 255)).astype(np.uint8)


def _pale(image: Colour) -> Colour:
    grey = image.mean(axis=2, keepdims=True)
    shown: Colour = np.rint(grey + (image - grey) * 0.65).astype(np.uint8)
    return shown


def _noisy(image: Colour) -> Colour:
    rng = np.random.default_rng(zlib.crc32(image.tobytes()))
    return np.clip(np.rint(image + rng.normal(0.0, 10.0, image.shape)), 0, 255).astype(np.uint8)


def _blurred(image: Colour) -> Colour:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(2.5)))


def _coarse(image: Colour) -> Colour:
    rows, columns = image.shape[:2]
    small = Image.fromarray(image).resize((columns // 3, rows // 3), Image.Resampling.BOX)
    return np.asarray(small.resize((columns, rows), Image.Resampling.BILINEAR))


def _compressed(image: Colour) -> Colour:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=25)
    return np.asarray(Image.open(buffer))


def _cropped(image: Colour) -> Colour:
    rows, columns = image.shape[:2]
    return image[rows // 8 : rows - rows // 8, columns // 8 : columns - columns // 8]


def _turned(image: Colour) -> Colour:
    return np.asarray(Image.fromarray(image).rotate(40, resample=Image.Resampling.BILINEAR))


def _bordered(image: Colour) -> Colour:
    rows, columns = image.shape[:2]
    return np.pad(image, ((rows // 8, rows // 8), (columns // 4, columns // 4), (0, 0)))


SHIFTS: Mapping[str, Shift] = {
    "as delivered": lambda image: image,
    "dark": _curve(lambda level: level**1.6),
    "bright": _curve(lambda level: level**0.65),
    "flat": _curve(lambda level: 0.2 + 0.6 * level),
    "warm lamp": _gains(1.12, 1.0, 0.82),
    "cold lamp": _gains(0.85, 1.0, 1.12),
    "pale": _pale,
    "noise": _noisy,
    "blur": _blurred,
    "third of the resolution": _coarse,
    "JPEG 25": _compressed,
    "cropped": _cropped,
    "turned": _turned,
    "mirrored": lambda image: image[:, ::-1].copy(),
    "black border": _bordered,
}
