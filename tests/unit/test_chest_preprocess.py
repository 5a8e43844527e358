"""Display greys to model pixels (CC8): bars, shape and blank images."""

import numpy as np
import pytest

from schemas.errors import OutOfRange, Unprocessable
from triton_models.chest_xray.card import CARD
from triton_models.chest_xray.preprocess import content, middle, prepare, prepare_seen


def picture(rows: int, columns: int) -> np.ndarray:
    """Smooth greys with a bright disc, so that nothing at the edge is flat."""
    y, x = np.mgrid[0:rows, 0:columns]
    waves = 90 + 50 * np.sin((x + 5) / 9.0) * np.cos(y / 13.0)
    disc = 80 * (((y - rows / 2) ** 2 + (x - columns / 2) ** 2) < (min(rows, columns) / 5) ** 2)
    made: np.ndarray = (waves + disc).astype(np.uint8)
    return made


@pytest.mark.parametrize(("rows", "columns"), [(160, 160), (224, 224), (2140, 1760), (100, 700), (33, 47)])
def test_any_size_becomes_the_tensor_that_the_card_names(rows: int, columns: int) -> None:
    prepared = prepare(picture(rows, columns))
    assert prepared.shape == CARD.inputs[0].shape
    assert prepared.dtype.name == CARD.inputs[0].dtype


def test_black_bars_around_a_picture_change_nothing() -> None:
    plain = picture(300, 280)
    padded = np.pad(plain, ((40, 0), (25, 60)))
    assert np.array_equal(prepare(padded), prepare(plain))


def test_white_bars_with_compression_noise_go_too() -> None:
    plain = picture(200, 200)
    padded = np.pad(plain, 20, constant_values=250)
    padded[:20] -= np.random.default_rng(0).integers(0, 5, (20, 240), dtype=np.uint8)
    assert padded[content(padded)].shape == (200, 200)


def test_a_mostly_flat_image_is_not_cut_down_to_its_content() -> None:
    lonely = np.zeros((100, 100), np.uint8)
    lonely[45:55, 45:55] = picture(10, 10) + 1
    assert lonely[content(lonely)].shape == (100, 100)


@pytest.mark.parametrize(
    ("shape", "limited"),
    [((100, 100), (100, 100)), ((100, 120), (100, 120)), ((100, 200), (100, 125)), ((300, 100), (125, 100))],
)
def test_only_what_is_longer_than_5_to_4_loses_its_ends(shape: tuple[int, int], limited: tuple[int, int]) -> None:
    plain = np.zeros(shape, np.uint8)
    assert plain[middle(plain)].shape == limited


def test_the_middle_stays_when_the_ends_go() -> None:
    wide = np.zeros((10, 100), np.uint8)
    wide[:, 50] = 7
    assert wide[middle(wide)][0].tolist().count(7) == 1


def test_it_says_which_part_of_the_picture_it_shows() -> None:
    """ME5: bars of 40 above, 10 below, 25 left and 75 right, then ends of 100 on each side of what is 300 x 575."""
    wide = np.pad(picture(300, 575), ((40, 10), (25, 75)))
    pixels, view = prepare_seen(wide)
    assert np.array_equal(pixels, prepare(wide))
    assert view == pytest.approx((375 / 675, 0.0, (25 + 100) / 675, 0.0, 300 / 350, 40 / 350))


@pytest.mark.parametrize("blank", [np.zeros((200, 200), np.uint8), np.full((64, 64), 255, np.uint8)])
def test_an_image_of_one_grey_is_refused(blank: np.ndarray) -> None:
    with pytest.raises(OutOfRange, match="one grey"):
        prepare(blank)


def test_a_thumbnail_is_refused_with_its_size() -> None:
    with pytest.raises(OutOfRange, match="20 x 200 pixels are too few"):
        prepare(picture(20, 200))


@pytest.mark.parametrize("wrong", [np.zeros((64, 64), np.uint16), np.zeros((64, 64, 3), np.uint8)])
def test_deep_or_coloured_pixels_are_refused(wrong: np.ndarray) -> None:
    with pytest.raises(Unprocessable):
        prepare(wrong)


def test_preparing_does_not_change_its_input() -> None:
    plain = picture(224, 224)
    before = plain.copy()
    prepare(plain)
    assert np.array_equal(plain, before)
