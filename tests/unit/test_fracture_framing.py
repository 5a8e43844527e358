"""How a limb comes onto the canvas of `fracture`, and how its boxes come along (CC1, CC9)."""

import numpy as np
import pytest

from schemas.errors import OutOfRange, Unprocessable
from triton_models.fracture.augment import IGNORED, Source, augment, in_pixels
from triton_models.fracture.collection import Box
from triton_models.fracture.framing import COLUMNS, ROWS, STRIDE, find_limb
from triton_models.fracture.preprocess import prepare, prepare_seen

SPOT = Box(x=0.55, y=0.4, width=0.06, height=0.05)


def limb(*, strip: bool = False, lying: bool = False) -> np.ndarray:
    """A dark plate with a limb of 70 x 300 pixels that holds a bright spot where `SPOT` says."""
    plate = np.full((450, 370), 25, dtype=np.uint8)
    plate[60:360, 160:240] = 110
    plate[169:191, 192:214] = 250
    if strip:
        plate[432:] = 245
    return np.ascontiguousarray(np.rot90(plate)) if lying else plate


def test_the_limb_fills_more_of_the_canvas_than_of_the_plate() -> None:
    seen = prepare(limb())
    assert seen.shape == (1, ROWS, COLUMNS)
    assert seen.dtype == np.uint8
    assert (seen > 60).mean() > 1.5 * (limb() > 60).mean()


def test_a_bright_strip_at_the_edge_is_left_out_of_the_window() -> None:
    with_strip, without = find_limb(limb(strip=True)), find_limb(limb())
    assert with_strip.top + with_strip.height == pytest.approx(without.top + without.height, abs=12)


def test_a_limb_that_lies_is_stood_up_as_if_it_had_stood() -> None:
    standing, lying = prepare(limb())[0], prepare(limb(lying=True))[0]
    turned = min(np.abs(standing.astype(int) - lying).mean(), np.abs(standing[::-1, ::-1].astype(int) - lying).mean())
    assert turned < 6


@pytest.mark.parametrize("lying", [False, True])
def test_the_map_of_places_marks_where_the_spot_is(lying: bool) -> None:
    """ME5: places mean places of the image, whichever way it was turned."""
    display = limb(lying=lying)
    box = Box(SPOT.y, 1 - SPOT.x, SPOT.height, SPOT.width) if lying else SPOT
    source = Source(display, find_limb(display), in_pixels((box,), display))
    image, places = augment(source, display, (ROWS, COLUMNS), np.random.default_rng(0), change=False)
    assert np.array_equal(image, prepare(display)[0])
    cells = image.reshape(ROWS // STRIDE, STRIDE, COLUMNS // STRIDE, STRIDE).mean(axis=(1, 3))
    assert cells[places == 1.0].mean() > 200
    assert cells[places == 0.0].max() < 180


@pytest.mark.parametrize("lying", [False, True])
def test_the_way_back_leads_from_the_canvas_to_the_spot(lying: bool) -> None:
    """ME5: what is found on the canvas is told where it is on the image."""
    display = limb(lying=lying)
    pixels, (a, b, c, d, e, f) = prepare_seen(display)
    rows, columns = np.nonzero(pixels[0] > 200)
    x, y = (columns.mean() + 0.5) / COLUMNS, (rows.mean() + 0.5) / ROWS
    spot = (SPOT.y, 1 - SPOT.x) if lying else (SPOT.x, SPOT.y)
    assert (a * x + b * y + c, d * x + e * y + f) == pytest.approx(spot, abs=0.01)


def test_a_changed_crop_around_a_box_still_marks_the_spot() -> None:
    """CC9: boxes follow turns, zooms and mirrors."""
    display = limb()
    source = Source(display, find_limb(display), in_pixels((SPOT,), display))
    rng, marked, elsewhere = np.random.default_rng(4), [], []
    for _ in range(40):
        image, places = augment(source, display, (160, 160), rng)
        cells = image.reshape(20, STRIDE, 20, STRIDE).mean(axis=(1, 3))
        if (places == 1.0).any():
            marked.append(cells[places == 1.0].max())
            elsewhere.append(float(np.median(cells[places == 0.0])))
        assert set(np.unique(places)) <= {0.0, 1.0, IGNORED}
    assert len(marked) > 25
    assert np.mean(np.array(marked) > np.array(elsewhere) + 40) > 0.8


def test_equal_dice_give_an_equal_image() -> None:
    """ME8."""
    display = limb()
    source = Source(display, find_limb(display), in_pixels((SPOT,), display))
    made = [augment(source, display, (96, 96), np.random.default_rng(3)) for _ in range(2)]
    assert np.array_equal(made[0][0], made[1][0])
    assert np.array_equal(made[0][1], made[1][1])


@pytest.mark.parametrize("shape", [(2000, 3000), (64, 900), (900, 64), (3001, 257)])
def test_any_shape_comes_onto_the_canvas(shape: tuple[int, int]) -> None:
    display = np.tile(np.linspace(10, 240, shape[1]).astype(np.uint8), (shape[0], 1))
    assert prepare(display).shape == (1, ROWS, COLUMNS)


def test_what_shows_nothing_or_is_too_small_is_out_of_range_and_the_rest_is_no_image() -> None:
    for display in (np.full((300, 300), 77, np.uint8), np.zeros((63, 300), np.uint8)):
        with pytest.raises(OutOfRange):
            prepare(display)
    with pytest.raises(Unprocessable):
        prepare(np.zeros((300, 300), np.uint16))
