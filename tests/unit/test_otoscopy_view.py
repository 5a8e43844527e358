"""What both otoscope models are shown of a photograph, and what they must not be shown (OT8, ME5)."""

import numpy as np
import pytest

from schemas.errors import OutOfRange, Unprocessable
from triton_models._otoscopy.augment import augment
from triton_models._otoscopy.shifts import SHIFTS
from triton_models._otoscopy.view import SIDE, disc, field, prepare
from triton_models.otoscope_diagnosis import preprocess as diagnosis
from triton_models.otoscope_screening import preprocess as screening


def photograph(
    rows: int = 380, columns: int = 420, centre: tuple[int, int] = (190, 210), radius: int = 170
) -> np.ndarray:
    """A reddish lit circle with texture on a dark ground."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:rows, :columns]
    lit = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
    colour = np.array([180.0, 120.0, 100.0]) + rng.normal(0, 20, (rows, columns, 1))
    return np.clip(np.where(lit[:, :, None], colour, 12), 0, 255).astype(np.uint8)


def test_both_models_prepare_alike() -> None:
    assert screening.prepare is diagnosis.prepare
    assert screening.PREPROCESSING_VERSION == diagnosis.PREPROCESSING_VERSION


def test_a_photograph_becomes_the_cards_tensor_with_black_corners() -> None:
    pixels = prepare(photograph())
    assert pixels.dtype == np.uint8
    assert pixels.shape == (3, SIDE, SIDE)
    assert not pixels[:, ~disc(SIDE)].any()
    assert pixels[0][disc(SIDE)].mean() > pixels[2][disc(SIDE)].mean() > 50


def test_a_wide_frame_around_the_circle_changes_little() -> None:
    """The field of view is found, wherever the circle lies in the picture."""
    tight, framed = prepare(photograph()), prepare(photograph(480, 640, (200, 380)))
    assert np.abs(tight.astype(int) - framed.astype(int)).mean() < 25


def test_the_field_is_a_square_of_the_picture_itself() -> None:
    square = field(photograph(480, 640, (200, 380)))
    assert square.shape[0] == square.shape[1] <= 480
    assert square.shape[0] >= 2 * 170 - 20


@pytest.mark.parametrize(
    ("thing", "error", "words"),
    [
        (np.zeros((380, 420), np.uint8), Unprocessable, "three colour channels"),
        (np.zeros((380, 420, 4), np.uint8), Unprocessable, "three colour channels"),
        (np.zeros((380, 420, 3), np.uint16), Unprocessable, "three colour channels"),
        (np.zeros((90, 420, 3), np.uint8), OutOfRange, "90 x 420 pixels are too few"),
        (np.full((380, 420, 3), 120, np.uint8), OutOfRange, "shows nothing"),
        (np.repeat(photograph()[:, :, :1], 3, axis=2), OutOfRange, "has no colour"),
    ],
)
def test_what_is_no_otoscope_photograph_is_refused_with_its_reason(
    thing: np.ndarray, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        prepare(thing)


@pytest.mark.parametrize("name", SHIFTS)
def test_every_shift_gives_a_photograph_again(name: str) -> None:
    """ME7: shifts are deterministic and stay what a camera could deliver."""
    before = photograph()
    once, twice = SHIFTS[name](before.copy()), SHIFTS[name](before.copy())
    assert np.array_equal(once, twice)
    assert once.dtype == np.uint8
    assert once.shape[2:] == (3,)
    assert prepare(once).shape == (3, SIDE, SIDE)
    assert name == "as delivered" or once.shape != before.shape or not np.array_equal(once, before)


def test_augmentation_is_drawn_from_its_generator_alone() -> None:
    square = field(photograph())
    one, other = (augment(square, square, SIDE, 1.0, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(one, other)
    assert one.dtype == np.uint8
    assert one.shape == (SIDE, SIDE, 3)
    assert not one[~disc(SIDE)].any()
    assert not np.array_equal(one, augment(square, square, SIDE, 1.0, np.random.default_rng(6)))
