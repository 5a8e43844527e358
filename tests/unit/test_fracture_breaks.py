"""Breaks that are drawn into whole bones to learn edges by (CC29)."""

import numpy as np
import pytest

from triton_models.fracture.augment import Source, augment
from triton_models.fracture.breaks import broken
from triton_models.fracture.framing import STRIDE, find_limb


def limb() -> np.ndarray:
    """A dark plate with a limb of 70 x 300 pixels, its edges soft."""
    plate = np.full((450, 370), 25.0)
    plate[60:360, 150:220] = 60
    plate[60:360, 170:200] = 140
    return plate.astype(np.uint8)


@pytest.mark.parametrize("seed", range(6))
def test_a_break_changes_the_bone_in_its_box_and_leaves_what_is_far(seed: int) -> None:
    image = limb()
    rng = np.random.default_rng(seed)
    drawn = next(made for made in (broken(image, rng) for _ in range(200)) if made)
    changed, (x, y, width, height) = drawn
    moved = changed != image
    assert moved.any()
    rows, columns = np.nonzero(np.abs(changed.astype(int) - image) > 10)
    assert abs(np.median(columns) - x) < width
    assert abs(np.median(rows) - y) < height
    assert not moved[: max(0, int(y) - 40)].any()
    assert not moved[int(y) + 40 :].any()


def test_breaks_are_seen_often_and_refused_where_there_is_nothing_to_break() -> None:
    image, rng = limb(), np.random.default_rng(5)
    assert sum(broken(image, rng) is not None for _ in range(40)) > 5
    assert broken(np.full((128, 128), 60, np.uint8), rng) is None


def test_only_an_image_without_a_box_is_broken_and_its_map_says_where() -> None:
    """CC9: what is drawn is marked."""
    display = limb()
    frame = find_limb(display)
    whole = Source(display, frame, np.empty((0, 4)))
    rng, marked, greys = np.random.default_rng(3), 0, []
    for _ in range(20):
        _, places = augment(whole, display, (128, 128), rng, breaks=1.0)
        marked += bool((places == 1.0).any())
        greys.append(places.shape)
    assert marked > 5
    assert set(greys) == {(128 // STRIDE, 128 // STRIDE)}
    boxed = Source(display, frame, np.array([[185.0, 200.0, 20.0, 20.0]]))
    plain, truth = augment(boxed, display, (128, 128), np.random.default_rng(7), breaks=0.0)
    again, same = augment(boxed, display, (128, 128), np.random.default_rng(7), breaks=1.0)
    assert np.array_equal(plain, again)
    assert np.array_equal(truth, same)
    assert not any((augment(whole, display, (128, 128), rng)[1] == 1.0).any() for _ in range(5))
