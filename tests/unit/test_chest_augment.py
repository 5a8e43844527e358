"""Training changes and test shifts keep an image's size, type and determinism (CC9, ME7)."""

import numpy as np
import pytest

from triton_models.chest_xray.augment import augment, match_tone
from triton_models.chest_xray.shifts import SHIFTS


def images() -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[0:160, 0:160]
    dark = (60 + 50 * np.sin(x / 15.0)).astype(np.uint8)
    bright = (190 + 50 * np.cos(y / 11.0)).astype(np.uint8)
    return dark, bright


def test_equal_dice_make_equal_images() -> None:
    dark, bright = images()
    first = [augment(dark, bright, 128, np.random.default_rng(3)) for _ in range(2)]
    assert np.array_equal(first[0], first[1])


def test_a_hundred_changes_are_all_valid_and_all_different() -> None:
    dark, bright = images()
    rng = np.random.default_rng(4)
    made = [augment(dark, bright, 128, rng) for _ in range(100)]
    assert {(one.shape, one.dtype.name) for one in made} == {((128, 128), "uint8")}
    assert len({one.tobytes() for one in made}) == 100


def test_the_original_is_left_alone() -> None:
    dark, bright = images()
    before = dark.copy()
    for seed in range(20):
        augment(dark, bright, 128, np.random.default_rng(seed))
    assert np.array_equal(dark, before)


def test_a_lent_tone_has_the_strangers_greys_and_keeps_the_order() -> None:
    dark, bright = images()
    moved = match_tone(dark, bright, 1.0)
    assert abs(float(moved.mean()) - float(bright.mean())) < 3
    order = np.argsort(dark.ravel(), kind="stable")
    assert (np.diff(moved.ravel()[order].astype(int)) >= 0).all()
    assert np.array_equal(match_tone(dark, bright, 0.0), dark)


@pytest.mark.parametrize("name", list(SHIFTS))
def test_each_shift_gives_the_same_image_twice_and_8_bit_greys(name: str) -> None:
    dark, _ = images()
    first, second = SHIFTS[name](dark), SHIFTS[name](dark)
    assert np.array_equal(first, second)
    assert first.dtype == np.uint8
    assert first.ndim == 2
    assert name == "as delivered" or first.shape != dark.shape or not np.array_equal(first, dark)
