"""Random changes of a training radiograph and of the boxes on it that must not change its label; no torch."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from triton_models.chest_xray.augment import match_tone
from triton_models.fracture.breaks import broken
from triton_models.fracture.collection import Box
from triton_models.fracture.framing import COLUMNS, ROWS, STRIDE, Frame, Grey, draw, onto_canvas

Floats = npt.NDArray[np.float32]
LEAST_CELLS = 1.5
IGNORED = -1.0
RING = 1.6
VIEW_ZOOM, CROP_ZOOM = (0.8, 1.25), (0.6, 1.2)
"""Canvas pixels a pixel of the result; the canvas is about as fine as the images, so parts look like the whole."""


@dataclass(frozen=True, slots=True)
class Source:
    """One training image with its window and boxes, in pixels of the image: rows of (x, y, width, height)."""

    display: Grey
    frame: Frame
    boxes: npt.NDArray[np.float64]


def in_pixels(boxes: tuple[Box, ...], display: Grey) -> npt.NDArray[np.float64]:
    """Boxes in pixels of `display`, [n, 4]: centre x, centre y, width, height."""
    rows, columns = display.shape
    found = [(box.x * columns, box.y * rows, box.width * columns, box.height * rows) for box in boxes]
    return np.array(found, dtype=np.float64).reshape(-1, 4)


def augment(
    source: Source,
    stranger: Grey,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    change: bool = True,
    breaks: float = 0.0,
) -> tuple[Grey, Floats]:
    """A changed copy of the window, or a part of it, as `size` (rows, columns) of uint8, and its map of places.

    The map is [rows / 8, columns / 8]: 1 in a box, 0 elsewhere, -1 in the ring around a box that teaches nothing.
    Of a part smaller than the canvas most fractured ones are placed around a box, the rest anywhere on the limb.
    `breaks` is the share of images without a box into which a break is drawn.
    """
    affine = _view(source, size, rng, change)
    image = draw(source.display, tuple(affine[:2].ravel()), *size, source.frame.fill)
    marked = places(source.boxes, affine, size)
    if not len(source.boxes) and rng.random() < breaks and (drawn := broken(image, rng)):
        image, marked = drawn[0], places(np.array([drawn[1]]), np.eye(3), size)
    if change:
        image = _sharpness(_tone(image, stranger, rng), rng)
    return image, marked


def _view(source: Source, size: tuple[int, int], rng: np.random.Generator, change: bool) -> npt.NDArray[np.float64]:
    """The 3 x 3 affine from pixels of the result to pixels of the image."""
    base = np.vstack([np.reshape(onto_canvas(source.frame), (2, 3)), [0.0, 0.0, 1.0]])
    centre = np.array([COLUMNS / 2, ROWS / 2])
    if size != (ROWS, COLUMNS):
        centre = _point(source, base, size, rng)
    elif change:
        centre = centre + rng.uniform(-0.08, 0.08, 2) * (COLUMNS, ROWS)
    if not change:
        return np.asarray(base @ _moved(centre, np.eye(2), size))
    angle, shear = np.deg2rad(rng.normal(0.0, 12.0)), rng.normal(0.0, 0.04)
    low, high = VIEW_ZOOM if size == (ROWS, COLUMNS) else CROP_ZOOM
    zoom, aspect = rng.uniform(low, high), np.exp(rng.normal(0.0, 0.06))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn @ np.array([[aspect, shear], [0.0, 1 / aspect]]) * zoom
    turn = turn @ np.diag([rng.choice([-1.0, 1.0]), -1.0 if rng.random() < 0.25 else 1.0])
    return np.asarray(base @ _moved(centre, turn, size))


def _moved(centre: npt.NDArray[np.float64], turn: npt.NDArray[np.float64], size: tuple[int, int]) -> Any:
    """Result pixels to canvas pixels: `turn` around the middle of the result, which shows `centre`."""
    middle = np.array([size[1] / 2, size[0] / 2])
    moved = np.eye(3)
    moved[:2, :2] = turn
    moved[:2, 2] = centre - turn @ middle
    return moved


def _point(
    source: Source, base: npt.NDArray[np.float64], size: tuple[int, int], rng: np.random.Generator
) -> npt.NDArray[np.float64]:
    """A point of the canvas to look at: near a box, or anywhere bright and uneven, as bones are and bars are not."""
    if len(source.boxes) and rng.random() < 0.8:
        box = source.boxes[rng.integers(len(source.boxes))]
        there = np.linalg.inv(base) @ (box[0], box[1], 1.0)
        near: npt.NDArray[np.float64] = there[:2] + rng.uniform(-0.32, 0.32, 2) * (size[1], size[0])
        return near
    coarse = draw(source.display, tuple((base @ np.diag([4.0, 4.0, 1.0]))[:2].ravel()), ROWS // 4, COLUMNS // 4, 0)
    blocks = coarse.reshape(ROWS // 16, 4, COLUMNS // 16, 4).astype(np.float64)
    bright = np.clip(blocks.mean(axis=(1, 3)) - np.percentile(coarse, 20), 0.0, 60.0)
    weight = (bright * np.clip(blocks.std(axis=(1, 3)), 0.0, 20.0)).ravel() + 1.0
    place = int(rng.choice(len(weight), p=weight / weight.sum()))
    return np.array([(place % (COLUMNS // 16) + rng.random()) * 16, (place // (COLUMNS // 16) + rng.random()) * 16])


def places(boxes: npt.NDArray[np.float64], affine: npt.NDArray[np.float64], size: tuple[int, int]) -> Floats:
    """The map of places for boxes (pixels of the image) seen through `affine` (result to image)."""
    rows, columns = size[0] // STRIDE, size[1] // STRIDE
    found = np.zeros((rows, columns), dtype=np.float32)
    if not len(boxes):
        return found
    back = np.linalg.inv(affine)
    y, x = np.mgrid[0:rows, 0:columns] + 0.5
    for box in boxes:
        at = (back @ (box[0], box[1], 1.0))[:2] / STRIDE
        half = np.maximum(np.abs(back[:2, :2]) @ box[2:] / STRIDE, LEAST_CELLS) / 2
        away = np.maximum(np.abs(x - at[0]) / half[0], np.abs(y - at[1]) / half[1])
        found = np.where(away <= 1.0, 1.0, np.where((away <= RING) & (found == 0.0), IGNORED, found))
    return found.astype(np.float32)


def _tone(image: Grey, stranger: Grey, rng: np.random.Generator) -> Grey:
    """Another machine's greys, window and film curve."""
    if rng.random() < 0.4:
        image = match_tone(image, stranger, rng.uniform(0.3, 1.0))
    level = np.arange(256) / 255.0
    if rng.random() < 0.8:
        low, high = rng.uniform(-0.1, 0.12), rng.uniform(0.65, 1.25)
        level = np.clip((level - low) / (high - low), 0.0, 1.0) ** np.exp(rng.uniform(-0.5, 0.5))
    return np.rint(level * 255.0).astype(np.uint8)[image]


def _sharpness(image: Grey, rng: np.random.Generator) -> Grey:
    picture = Image.fromarray(image)
    if rng.random() < 0.15:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.0))))
    elif rng.random() < 0.25:
        radius, percent = float(rng.uniform(1.0, 8.0)), int(rng.integers(40, 150))
        picture = picture.filter(ImageFilter.UnsharpMask(radius, percent, 0))
    if rng.random() < 0.15:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(rng.integers(40, 90)))
        picture = Image.open(buffer)
    changed = np.asarray(picture)
    if rng.random() < 0.3:
        grain = rng.standard_normal(changed.shape, dtype=np.float32) * np.float32(rng.uniform(1.0, 7.0))
        changed = np.clip(np.rint(changed + grain), 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        changed = changed.copy()
        for _ in range(int(rng.integers(1, 3))):
            height, width = rng.integers(8, 40, 2)
            top, left = rng.integers(0, image.shape[0] - height), rng.integers(0, image.shape[1] - width)
            changed[top : top + height, left : left + width] = int(rng.integers(0, 256))
    return changed
