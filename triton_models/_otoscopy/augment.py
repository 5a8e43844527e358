"""Random changes of an otoscope photograph that must not change its label: geometry, colour, sharpness; no torch."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from triton_models._otoscopy.view import cover

Colour = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def augment(square: Colour, stranger: Colour, side: int, strength: float, rng: np.random.Generator) -> Colour:
    """One randomly changed copy of `square` (uint8, side x side x 3 of any size) as side x side x 3, corners black.

    `strength` (0-1) scales all changes, so that a run can begin with easy pictures. `stranger` is any other training
    photograph: some of its colour cast is lent to `square` now and then, so that the tint of one session's lamp and
    camera cannot serve as a shortcut.
    """
    changed = _place(square, side, strength, rng)
    changed = _colour(changed, stranger, strength, rng)
    changed = _sharpness(changed, strength, rng)
    return cover(_patches(changed, strength, rng))


def _place(square: Colour, side: int, strength: float, rng: np.random.Generator) -> Colour:
    """Turn by any angle, zoom, stretch, shift and mirror, in one interpolation: a hand holds the otoscope."""
    size = square.shape[0]
    zoom = np.exp(rng.uniform(-0.4, 0.2) * strength)
    aspect = np.exp(rng.uniform(-0.12, 0.12) * strength)
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < 0.6 else rng.normal(0.0, 0.35)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    cos, sin = np.cos(angle), np.sin(angle)
    wide, tall = size * zoom * aspect / side, size * zoom / aspect / side
    xx, xy, yx, yy = wide * cos * flip, -tall * sin, wide * sin * flip, tall * cos
    reach = 0.12 * strength * size
    centre_x, centre_y = size / 2 + rng.uniform(-reach, reach), size / 2 + rng.uniform(-reach, reach)
    half = side / 2
    matrix = (xx, xy, centre_x - half * (xx + xy), yx, yy, centre_y - half * (yx + yy))
    edge = tuple(int(level) for level in np.median(square[0], axis=0))
    turned: Any = Image.fromarray(square).transform(
        (side, side), Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR, fillcolor=edge
    )
    return np.asarray(turned)


def _colour(square: Colour, stranger: Colour, strength: float, rng: np.random.Generator) -> Colour:
    level = square.astype(np.float32) / 255.0
    if rng.random() < 0.3:
        level = _borrow(level, stranger.astype(np.float32) / 255.0, rng.uniform(0.0, 0.6) * strength)
    if rng.random() < 0.8:  # white balance
        level = level * np.exp(rng.normal(0.0, 0.09, 3) * strength).astype(np.float32)
    if rng.random() < 0.7:  # saturation
        grey = (level @ GREY)[:, :, None]
        level = grey + (level - grey) * np.float32(np.exp(rng.uniform(-0.5, 0.35) * strength))
    if rng.random() < 0.9:  # exposure, contrast, gamma
        low, high = rng.uniform(-0.12, 0.12) * strength, 1.0 + rng.uniform(-0.25, 0.3) * strength
        level = np.clip((level - low) / (high - low), 0.0, 1.0) ** np.float32(
            np.exp(rng.uniform(-0.45, 0.45) * strength)
        )
    shown: Colour = np.rint(np.clip(level, 0.0, 1.0) * 255.0).astype(np.uint8)
    return shown


def _borrow(level: Floats, stranger: Floats, share: float) -> Floats:
    """`level` with the mean and spread of each channel moved by `share` towards those of `stranger`."""
    own, other = level.mean(axis=(0, 1)), stranger.mean(axis=(0, 1))
    width = level.std(axis=(0, 1)) + 0.02
    wanted = (1 - share) * width + share * (stranger.std(axis=(0, 1)) + 0.02)
    moved: Floats = ((level - own) * (wanted / width) + (1 - share) * own + share * other).astype(np.float32)
    return moved


def _sharpness(square: Colour, strength: float, rng: np.random.Generator) -> Colour:
    side = square.shape[0]
    picture = Image.fromarray(square)
    if rng.random() < 0.2 * strength:
        small = int(rng.integers(side // 3, side))
        picture = picture.resize((small, small), Image.Resampling.BOX).resize((side, side), Image.Resampling.BILINEAR)
    if rng.random() < 0.25 * strength:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.5))))
    elif rng.random() < 0.2 * strength:
        picture = picture.filter(ImageFilter.UnsharpMask(float(rng.uniform(0.8, 4.0)), int(rng.integers(40, 160)), 0))
    if rng.random() < 0.2 * strength:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(rng.integers(25, 90)))
        picture = Image.open(buffer)
    changed = np.asarray(picture)
    if rng.random() < 0.3 * strength:
        grain = rng.standard_normal(changed.shape, dtype=np.float32) * np.float32(rng.uniform(1.0, 10.0))
        changed = np.clip(np.rint(changed + grain), 0, 255).astype(np.uint8)
    return changed


def _patches(square: Colour, strength: float, rng: np.random.Generator) -> Colour:
    """Covered places, so that no single spot decides."""
    side = square.shape[0]
    changed = square.copy()
    shade = changed[::8, ::8].mean(axis=(0, 1)).astype(np.uint8)  # white would look like a plaque
    for _ in range(int(rng.integers(0, 3)) if rng.random() < strength else 0):
        height, width = rng.integers(side // 16, side // 4, 2)
        top, left = rng.integers(0, side - height), rng.integers(0, side - width)
        changed[top : top + height, left : left + width] = shade
    return changed
