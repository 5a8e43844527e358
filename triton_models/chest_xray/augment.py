"""Random changes of a training image that must not change its label: geometry, exposure, sharpness; no torch."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

Grey = npt.NDArray[np.uint8]
LEVELS = 256


def augment(image: Grey, stranger: Grey, side: int, rng: np.random.Generator) -> Grey:
    """One randomly changed copy of `image` (uint8, rows x columns) as side x side, uint8.

    `stranger` is any other training image, of either class: its grey-level distribution is lent to `image` half of
    the time, so that the tone of the two classes' machines cannot serve as a shortcut.
    """
    changed = _tone(image, stranger, rng)
    changed = _place(changed, side, rng)
    changed = _sharpness(changed, rng)
    return _marks(changed, rng)


def match_tone(image: Grey, stranger: Grey, share: float) -> Grey:
    """`image` with its grey levels moved by `share` (0-1) towards the distribution of `stranger`; order is kept."""
    own = np.cumsum(np.bincount(image.ravel(), minlength=LEVELS)) / image.size
    other = np.cumsum(np.bincount(stranger.ravel(), minlength=LEVELS)) / stranger.size
    levels = np.arange(LEVELS, dtype=np.float64)
    moved = np.interp(own, other, levels)
    table = (1.0 - share) * levels + share * moved
    return np.clip(np.rint(table), 0, 255).astype(np.uint8)[image]


def _tone(image: Grey, stranger: Grey, rng: np.random.Generator) -> Grey:
    if rng.random() < 0.5:
        image = match_tone(image, stranger, rng.uniform(0.3, 1.0))
    level = np.arange(LEVELS) / 255.0
    if rng.random() < 0.8:
        low, high = rng.uniform(-0.15, 0.2), rng.uniform(0.7, 1.25)
        level = np.clip((level - low) / (high - low), 0.0, 1.0)
        level = level ** np.exp(rng.uniform(-0.6, 0.6))
    if rng.random() < 0.3:  # a film-like or a flattened curve around a random grey
        middle, slope = rng.uniform(0.3, 0.7), rng.uniform(3.0, 8.0)
        curve = 1.0 / (1.0 + np.exp(-slope * (level - middle)))
        level = (curve - curve.min()) / max(float(np.ptp(curve)), 1e-6)
    low, high = rng.uniform(0.0, 0.15), rng.uniform(0.8, 1.0)
    if rng.random() < 0.3:
        level = low + level * (high - low)
    return np.rint(level * 255.0).astype(np.uint8)[image]


def _place(image: Grey, side: int, rng: np.random.Generator) -> Grey:
    """Crop, stretch, turn, shear and mirror, in one interpolation."""
    rows, columns = image.shape
    zoom = np.sqrt(rng.uniform(0.55, 1.15))
    aspect = np.exp(rng.uniform(-0.28, 0.28) / 2)
    wide, tall = columns * zoom * aspect, rows * zoom / aspect
    centre_x = columns / 2 + rng.uniform(-0.5, 0.5) * abs(columns - wide)
    centre_y = rows / 2 + rng.uniform(-0.5, 0.5) * abs(rows - tall)
    angle, shear = np.deg2rad(rng.normal(0.0, 6.0)), rng.normal(0.0, 0.05)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    cos, sin = np.cos(angle), np.sin(angle)
    xx, xy = wide / side * cos * flip, tall / side * (shear - sin)
    yx, yy = wide / side * sin * flip, tall / side * cos
    half = side / 2
    matrix = (xx, xy, centre_x - half * (xx + xy), yx, yy, centre_y - half * (yx + yy))
    fill = int(rng.choice(np.array([0, 0, 40, 128, 255]))) if rng.random() < 0.7 else int(np.median(image[:, :6]))
    turned: Any = Image.fromarray(image).transform(
        (side, side), Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR, fillcolor=fill
    )
    return np.asarray(turned)


def _sharpness(image: Grey, rng: np.random.Generator) -> Grey:
    side = image.shape[0]
    picture = Image.fromarray(image)
    if rng.random() < 0.25:
        small = int(rng.integers(side // 3, side))
        picture = picture.resize((small, small), Image.Resampling.BOX).resize((side, side), Image.Resampling.BILINEAR)
    if rng.random() < 0.2:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.6))))
    elif rng.random() < 0.25:
        radius, percent = float(rng.uniform(1.0, 12.0)), int(rng.integers(40, 200))
        picture = picture.filter(ImageFilter.UnsharpMask(radius, percent, 0))
    if rng.random() < 0.2:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(rng.integers(25, 90)))
        picture = Image.open(buffer)
    changed = np.asarray(picture)
    field: npt.NDArray[np.float32] | None = None
    if rng.random() < 0.25:  # anode heel, scatter: a slow change of brightness over the plate
        tilt = np.linspace(-1.0, 1.0, side, dtype=np.float32)
        x, y = rng.normal(0.0, 14.0, 2)
        field = (x * tilt[None, :] + y * tilt[:, None]).astype(np.float32)
    if rng.random() < 0.35:
        grain = rng.standard_normal(changed.shape, dtype=np.float32) * np.float32(rng.uniform(1.0, 12.0))
        field = grain if field is None else field + grain
    if field is None:
        return changed
    return np.clip(np.rint(changed + field), 0, 255).astype(np.uint8)


def _marks(image: Grey, rng: np.random.Generator) -> Grey:
    """Collimator edges, side markers and covered patches, none of which say anything about the lungs."""
    side = image.shape[0]
    changed = image.copy()
    if rng.random() < 0.25:
        level = int(rng.choice(np.array([0, 10, 255])))
        cuts = rng.integers(0, side // 8, 4) * (rng.random(4) < 0.5)
        changed[: cuts[0]] = level
        changed[side - cuts[1] :] = level
        changed[:, : cuts[2]] = level
        changed[:, side - cuts[3] :] = level
    for _ in range(int(rng.integers(0, 3))):
        height, width = rng.integers(side // 24, side // 6, 2)
        top, left = rng.integers(0, side - height), rng.integers(0, side - width)
        changed[top : top + height, left : left + width] = int(rng.integers(0, 256))
    return changed
