"""The gate before the models: what is wrong with a picture, in a code and a sentence (CC10); made by code."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from adapters import chest_look, quality
from adapters.dicom_reading import decode_dicom
from adapters.imaging import DecodedImage, ImageHeader, to_display
from clinstream import samples
from clinstream.gate import damage
from schemas.card import Shows

CHESTS = sorted(samples.IMAGES.glob("chest-*.jpeg"))


def greys(number: int = 0) -> np.ndarray:
    """A packaged chest radiograph."""
    return np.asarray(Image.open(CHESTS[number]).convert("L"))


def of(pixels: np.ndarray, bits: int = 8) -> DecodedImage:
    """Pixels as they come out of the decoders."""
    stored = np.ascontiguousarray(pixels)
    return DecodedImage(stored, "RGB" if stored.ndim == 3 else "MONOCHROME2", bits, ImageHeader())


def code(pixels: np.ndarray, shows: Shows = "chest", bits: int = 8) -> str:
    """The code of the first rule that is broken, empty for a usable image."""
    image = of(pixels, bits)
    found = quality.fault(image, to_display(image), shows)
    assert found is None or len(found.reason) > 20
    return found.code if found else ""


@pytest.mark.parametrize("number", range(len(CHESTS)))
@pytest.mark.parametrize(
    "seen",
    [
        lambda picture: picture,
        lambda picture: picture[:, ::-1],
        lambda picture: np.pad(picture, 40),
        lambda picture: np.kron(picture, np.ones((4, 4), np.uint8)),
        lambda picture: np.repeat(picture[..., None], 3, axis=2),
    ],
    ids=["as it is", "mirrored", "black borders", "enlarged", "three equal channels"],
)
def test_a_chest_is_let_through_however_it_is_delivered(number: int, seen: Callable[..., np.ndarray]) -> None:
    assert code(seen(greys(number))) == ""
    assert code(seen(greys(number)), "radiograph") == ""


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_turned_chest_is_refused_and_which_way_it_lies_is_said(quarter: int) -> None:
    image = of(np.rot90(greys(), quarter))
    found = quality.fault(image, to_display(image), "chest")
    assert found is not None
    assert found.code == "rotated"
    assert ("turned left", "upside down", "turned right")[quarter - 1] in found.reason


@pytest.mark.parametrize(
    ("half", "number", "word"), [(0, 2, "upper"), (1, 3, "lower"), (2, 3, "left"), (3, 3, "right")]
)
def test_half_a_chest_is_cut_off(half: int, number: int, word: str) -> None:
    image = of(damage.halved(greys(number), half, 0.4))
    found = quality.fault(image, to_display(image), "chest")
    assert found is not None
    assert (found.code, word in found.reason) == ("cut_off", True)


@pytest.mark.parametrize(
    ("exposed", "expected"),
    [
        (lambda picture: picture * 0.2, "underexposed"),
        (lambda picture: np.where(picture < 180, 0, picture), "underexposed"),
        (lambda picture: picture * 0.15 + 210, "overexposed"),
        (lambda picture: np.where(picture > 110, 255, picture), "overexposed"),
        (lambda picture: picture * 0.1 + 100, "low_contrast"),
    ],
    ids=["too dark", "black shadows", "too bright", "burnt out", "fog"],
)
def test_a_bad_exposure_is_refused(exposed: Callable[[np.ndarray], np.ndarray], expected: str) -> None:
    assert code(np.asarray(exposed(greys())).astype(np.uint8)) == expected


@pytest.mark.parametrize("grey", [0, 100, 255])
@pytest.mark.parametrize("shows", ["chest", "limb", "radiograph"])
def test_a_picture_of_one_grey_is_blank_whichever_it_is_and_not_too_dark_or_too_bright(grey: int, shows: Shows) -> None:
    """CC10: noise of JPEG is nothing; a faint picture is one of low contrast."""
    nothing = np.full((300, 240), grey, np.int16)
    noise = np.random.default_rng(5).integers(0, quality.BLANK, nothing.shape)
    assert code(nothing.astype(np.uint8), shows) == "blank"
    assert code((nothing + noise).clip(0, 255).astype(np.uint8), shows) == "blank"
    faint = (greys() * 0.05 + min(grey, 200)).astype(np.uint8)
    assert code(faint, shows) in {"underexposed", "overexposed", "low_contrast"}


@pytest.mark.parametrize("shows", ["chest", "radiograph"])
@pytest.mark.parametrize("dark", [False, True])
def test_a_page_of_text_is_no_radiograph(shows: Shows, dark: bool) -> None:
    assert code(damage.page(np.random.default_rng(3), dark), shows) == "not_radiograph"


def test_a_photograph_in_colour_is_no_radiograph_and_nearly_grey_channels_are_one() -> None:
    """Three channels alone say nothing: many pictures of radiographs have three equal ones, JPEG apart."""
    picture = greys().astype(np.int16)
    reddish = np.stack([picture, picture * 0.5, picture * 0.4], axis=2).astype(np.uint8)
    assert code(reddish, "radiograph") == "not_radiograph"
    assert code(np.stack([picture, picture + 6, picture - 6], axis=2).clip(0, 255).astype(np.uint8)) == ""
    assert code(reddish.astype(np.uint16) * 257, "radiograph", bits=16) == "not_radiograph"


def test_a_hand_is_another_part_for_the_chest_and_fine_for_the_general_rule() -> None:
    image = decode_dicom((samples.IMAGES / "hand.dcm").read_bytes())
    shown = to_display(image)
    found = quality.fault(image, shown, "chest")
    assert found is not None
    assert found.code == "wrong_body_part"
    assert quality.fault(image, shown, "radiograph") is None
    assert quality.fault(image, shown, "limb") is None


def test_a_chest_is_no_limb() -> None:
    assert code(greys(), "limb") == "wrong_body_part"


def test_a_card_that_asks_for_nothing_lets_everything_through() -> None:
    assert code(np.zeros((50, 50), np.uint8), "") == ""


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (12, 12), (300, 13), (5, 2000)])
def test_a_tiny_or_narrow_picture_is_judged_and_never_an_error(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(60, 200, shape).astype(np.uint8)
    assert code(noise) != ""


def test_the_features_do_not_change_with_the_window() -> None:
    """Worked out by hand: ranks of the fields are those of any curve that rises."""
    picture = np.repeat(np.repeat(np.arange(144, dtype=np.uint8).reshape(12, 12), 10, axis=0), 10, axis=1)
    found = chest_look.features(picture)[:144]
    assert found.tolist() == pytest.approx(np.linspace(-1, 1, 144).tolist())
    assert chest_look.features((picture // 2 + 90).astype(np.uint8))[:1].tolist() == [-1.0]


def test_flat_bars_are_taken_off_and_a_flat_picture_is_kept() -> None:
    framed = np.pad(greys(), ((30, 5), (0, 60)), constant_values=7)
    assert chest_look.inside(framed).shape == chest_look.inside(greys()).shape
    assert chest_look.inside(np.full((40, 50), 9, np.uint8)).shape == (40, 50)
