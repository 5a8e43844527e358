"""The quality gate: whether an image is what a model's card says it must look like, and in words why not.

A few rules on a small sample of the display greys (and colours), cheap enough for every image; how often they are wrong
is measured by `clinstream quality`. Headers are judged by routing, not here.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from adapters.chest_look import inside, likeness
from adapters.imaging import DecodedImage, Grey8
from schemas.card import Shows
from schemas.refusals import Code

SAMPLE: Final = 112
"""Pixels that the shorter side of the sample has at least: every n-th pixel is looked at, no average is taken."""
COLOURED: Final = 40
"""Distance of the channels (of 255) from which a pixel is coloured: JPEG noise on greys stays below 20."""
COLOUR_SHARE: Final = 0.02
STEP: Final = 50
DRAWN_SHARE: Final = 0.25
"""Share of hard steps among all changes of grey along a row: letters are 0.4 and more, radiographs at most 0.17."""
BLANK: Final = 8
"""Greys that anything at all in a picture is apart; JPEG noise on one grey stays below."""
A_CHEST: Final = 5.0
"""How much more like a whole chest than like anything else a picture is that no model of limbs is meant for."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is still a usable exposure, in display greys: shares of pixels, or greys that 5 or 95 % lie below."""

    black_share: float
    white_share: float
    darkest_bright: int
    brightest_dark: int
    least_range: int


ANY_PART: Final = Limits(black_share=0.75, white_share=0.50, darkest_bright=30, brightest_dark=210, least_range=20)
LIMITS: Final[dict[Shows, Limits]] = {
    "chest": Limits(black_share=0.40, white_share=0.25, darkest_bright=85, brightest_dark=185, least_range=50),
    "radiograph": ANY_PART,
    "limb": ANY_PART,
}


@dataclass(frozen=True, slots=True)
class WayWrong:
    """What is said of a picture that is at least `times` as much like this as like a whole upright chest.

    The factors were chosen so that of no source of chests more than 0.5 % are refused (docs/quality.md): adults with
    room above the shoulders look like an upper half, children filmed without their necks like a lower one.
    """

    times: float
    code: Code
    reason: str


WAYS_WRONG: Final[dict[str, WayWrong]] = {
    "turned_left": WayWrong(12, "rotated", "the chest lies on its side, turned left by a quarter; send it upright"),
    "upside_down": WayWrong(12, "rotated", "the chest is upside down; send it upright"),
    "turned_right": WayWrong(12, "rotated", "the chest lies on its side, turned right by a quarter; send it upright"),
    "top": WayWrong(90, "cut_off", "only the upper part of a chest is in the picture"),
    "bottom": WayWrong(55, "cut_off", "only the lower part of a chest is in the picture"),
    "left": WayWrong(20, "cut_off", "only the left half of the picture of a chest is there"),
    "right": WayWrong(20, "cut_off", "only the right half of the picture of a chest is there"),
    "other": WayWrong(7.5, "wrong_body_part", "what the picture shows does not look like a frontal chest radiograph"),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an image is refused: a code for machines and a sentence for a person."""

    code: Code
    reason: str


def fault(image: DecodedImage, shown: Grey8, shows: Shows) -> Fault | None:
    """The first rule that an image breaks, None for a usable one; `shown` are its display greys."""
    if not shows:
        return None
    if image.stored.ndim == 3 and is_coloured(image):
        return Fault("not_radiograph", "the picture is in colour, a radiograph has greys only")
    picture = inside(sample(shown))
    return _blank(picture) or _drawn(picture) or _exposure(picture, LIMITS[shows]) or _part(picture, shows)


def sample(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Every n-th row and column, so that the shorter side has 112 to 223 pixels (fewer of a smaller picture)."""
    every = max(1, min(pixels.shape[:2]) // SAMPLE)
    return np.ascontiguousarray(pixels[every // 2 :: every, every // 2 :: every])


def is_coloured(image: DecodedImage) -> bool:
    """Whether more than 2 % of the pixels of three channels have a colour."""
    pixels = sample(image.stored)
    spread = pixels.max(axis=2).astype(np.float32) - pixels.min(axis=2).astype(np.float32)
    return bool((spread * (255.0 / (2**image.bits_stored - 1)) > COLOURED).mean() > COLOUR_SHARE)


def _blank(picture: Grey8) -> Fault | None:
    shown = int(np.ptp(picture)) >= BLANK
    return None if shown else Fault("blank", "the picture shows nothing: all of it is one grey")


def _drawn(picture: Grey8) -> Fault | None:
    steps = np.bincount(np.abs(np.diff(picture.astype(np.int16), axis=1)).ravel(), minlength=256)
    changes = int(steps[1:].sum())
    if changes and steps[STEP + 1 :].sum() > DRAWN_SHARE * changes:
        return Fault("not_radiograph", "the picture is a drawing, text or a screen, not a radiograph")
    return None


def _exposure(picture: Grey8, limits: Limits) -> Fault | None:
    counts = np.bincount(picture.ravel(), minlength=256)
    below = np.cumsum(counts) / picture.size
    dark, bright = (int(np.searchsorted(below, share)) for share in (0.05, 0.95))
    if bright < limits.darkest_bright or below[2] > limits.black_share:
        return Fault("underexposed", "the picture is too dark: the parts to be judged are black")
    if dark > limits.brightest_dark or 1.0 - below[252] > limits.white_share:
        return Fault("overexposed", "the picture is too bright: the parts to be judged are white")
    if bright - dark < limits.least_range:
        return Fault("low_contrast", "the picture has too little contrast to be judged")
    return None


def _part(picture: Grey8, shows: Shows) -> Fault | None:
    if shows == "radiograph":
        return None
    like = likeness(picture)
    if shows == "limb":
        chest = like["whole"] > A_CHEST * like["other"]
        return Fault("wrong_body_part", "what the picture shows looks like a chest") if chest else None
    likest = max(WAYS_WRONG, key=lambda way: like[way])
    wrong = WAYS_WRONG[likest]
    return Fault(wrong.code, wrong.reason) if like[likest] > wrong.times * like["whole"] else None
