"""What can be wrong with a picture, made by code: cut, turned, badly exposed, or a page of text instead."""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Grey = npt.NDArray[np.uint8]
Chance = np.random.Generator
LETTERS: Final = tuple("abcdefghijklmnopqrstuvwxyz  0123456789")


def halved(picture: Grey, half: int, share: float) -> Grey:
    """The upper (0), lower (1), left (2) or right (3) `share` of a picture."""
    rows, columns = picture.shape
    high, wide = int(rows * share), int(columns * share)
    return (picture[:high], picture[rows - high :], picture[:, :wide], picture[:, columns - wide :])[half]


def framed(picture: Grey, chance: Chance, most: float = 0.1) -> Grey:
    """The picture as another radiographer would have framed it: up to `most` of each side less."""
    rows, columns = picture.shape
    top, bottom = (int(part * rows) for part in chance.uniform(0, most, 2))
    left, right = (int(part * columns) for part in chance.uniform(0, most, 2))
    return picture[top : rows - bottom, left : columns - right]


def widened(picture: Grey, chance: Chance) -> Grey:
    """The picture with more around it: shoulders and air above and beside that darken away from the body."""
    rows, columns = picture.shape
    above, below = int(chance.uniform(0, 0.3) * rows), int(chance.uniform(0, 0.12) * rows)
    left, right = (int(part * columns) for part in chance.uniform(0, 0.18, 2))
    grown = np.pad(picture, ((above, below), (left, right)), "edge").astype(np.float32)
    away = np.abs(np.arange(grown.shape[1]) - (left + columns / 2)) / (columns / 2)
    up = np.clip((above - np.arange(grown.shape[0])) / max(above, 1), 0, 1)[:, None]
    beside_neck = np.clip(away[None] - (1 - 0.65 * up), 0, 1) * chance.uniform(0.5, 3.0) * (up > 0)
    beside_body = np.clip(away[None] - 1, 0, 1) * chance.uniform(0, 4.0)
    made: Grey = np.clip(grown * (1 - np.clip(beside_neck + beside_body, 0, 1)), 0, 255).astype(np.uint8)
    return made


def tilted(picture: Grey, chance: Chance, degrees: float = 12.0) -> Grey:
    """The picture a little askew, as patients lie."""
    turned = Image.fromarray(picture).rotate(
        chance.uniform(-degrees, degrees), Image.Resampling.BILINEAR, fillcolor=int(picture[0].mean())
    )
    return np.asarray(turned)


EXPOSURES: Final[dict[str, Callable[[Grey], Grey]]] = {
    "a third of the light": lambda picture: (picture * 0.3).astype(np.uint8),
    "burnt out": lambda picture: np.clip(picture.astype(np.int32) * 3, 0, 255).astype(np.uint8),
    "black but for the bones": lambda picture: np.clip(picture.astype(np.int32) * 3 - 520, 0, 255).astype(np.uint8),
    "foggy": lambda picture: (picture * 0.15 + 110).astype(np.uint8),
}
"""Ways of exposing a picture so badly that nobody should read it."""


def page(chance: Chance, dark: bool) -> Grey:
    """A page of text with boxes, light or dark, of a random size: a document or a screen."""
    back = int(chance.integers(0, 60) if dark else chance.integers(200, 256))
    made = Image.new("L", (int(chance.integers(500, 1400)), int(chance.integers(500, 1400))), back)
    pen, size = ImageDraw.Draw(made), int(chance.integers(10, 28))
    font = ImageFont.load_default(size=size)
    for line in range(20, made.height - 20, int(size * 1.5)):
        if chance.random() < 0.85:
            letters = chance.choice(LETTERS, size=int(chance.integers(20, made.width // 8)))
            pen.text((20, line), "".join(letters), fill=255 - back, font=font)
        if chance.random() < 0.05:
            corner = (int(chance.integers(60, made.width - 20)), line + int(chance.integers(20, 160)))
            pen.rectangle((20, line, *corner), fill=int(chance.integers(0, 256)))
    return np.asarray(made)
