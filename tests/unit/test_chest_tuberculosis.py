"""What tells tuberculosis across sources, and from where on the image, on invented images (CC1, ME1)."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from triton_models.chest_xray import tuberculosis
from triton_models.chest_xray.collection import Picture, read_index
from triton_models.chest_xray.fields import DEFAULT, PLAIN, local_contrast, lungs
from triton_models.chest_xray.measure import prepared

Grey = npt.NDArray[np.uint8]
Found = dict[str, dict[str, list[float]]]
SIDE = 128


def chest(rng: np.random.Generator, mark: int) -> Grey:
    """A bright body with two dark lungs, and beside them, at the foot, a square `mark` grey levels brighter."""
    down, along = np.mgrid[:SIDE, :SIDE]
    grey = rng.normal(150, 6, (SIDE, SIDE))
    for x in (38, 90):
        grey[np.hypot((along - x) / 17, (down - 56) / 36) < 1] -= 80
    grey[112:122, 50:78] += mark
    return np.clip(grey, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is ill differs by a mark outside the lungs and by nothing else, in every source."""
    made = tmp_path_factory.mktemp("chest")
    rng = np.random.default_rng(3)
    rows = ["path,label,subtype,patient,source,licence"]
    for source, ill, count in (
        ("kermany", False, 6),
        ("kiran_jabeen", False, 6),
        ("kiran_jabeen", True, 12),
        ("rahman_tb_db", True, 20),
        ("covid19_radiography_db", False, 20),
    ):
        for number in range(count):
            name = f"{source}-{ill}-{number}.png"
            Image.fromarray(chest(rng, 60 if ill else 0)).save(made / name)
            rows.append(f"{name},{'tuberculosis' if ill else 'normal'},,,{source},CC BY 4.0")
    (made / "chest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def found(folder: Path) -> Found:
    return tuberculosis.measure(folder)


def test_lungs_are_found_where_they_are_and_elsewhere_the_usual_place_is_taken() -> None:
    rng = np.random.default_rng(1)
    where, found = lungs(chest(rng, 0))
    assert found
    assert [(each.start, each.stop) for each in where] == [
        pytest.approx((20, 92), abs=5),
        pytest.approx((21, 107), abs=5),
    ]
    usual, found = lungs(np.full((100, 200), 90, dtype=np.uint8))
    assert not found
    assert usual == (slice(10, 88), slice(round(DEFAULT[2] * 200), round(DEFAULT[3] * 200)))


def test_local_contrast_is_the_same_in_another_exposure() -> None:
    grey = chest(np.random.default_rng(2), 60)
    darker = np.rint(grey * 0.7 + 20).astype(np.uint8)
    apart = np.abs(local_contrast(grey).astype(int) - local_contrast(darker))
    assert np.quantile(apart, 0.99) <= 12
    assert local_contrast(grey).std() > 20


def test_the_two_views_part_the_image_between_them() -> None:
    grey = chest(np.random.default_rng(4), 60)
    inside, outside, whole = tuberculosis.alone(grey), tuberculosis.covered(grey), local_contrast(grey)
    where, _ = lungs(grey)
    assert np.array_equal(inside[where], whole[where])
    assert (outside[where] == PLAIN).all()
    apart = np.ones(grey.shape, dtype=bool)
    apart[where] = False
    assert (inside[apart] == PLAIN).all()
    assert np.array_equal(outside[apart], whole[apart])


def test_a_sign_outside_the_lungs_is_found_out(found: Found) -> None:
    """ME1: what tells the classes from beside the lungs tells them with the lungs covered and not with them alone."""
    for half in ("choosing", "across"):
        assert found["frozen channels, local contrast, lungs covered"][half][0] > 0.95
        assert found["frozen channels, local contrast, lungs alone"][half][0] < 0.85
        for figure in (each[half] for each in found.values()):
            assert 0.0 <= figure[1] <= figure[0] <= figure[2] <= 1.0


def test_what_chooses_is_not_reported(folder: Path, found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    """ME1: pictures of the reported half may be anything; what was chosen stays."""
    pictures = [one for one in read_index(folder) if one.source in tuberculosis.JUDGING]
    halves = {tuberculosis.chooses(one) for one in pictures}
    assert halves == {True, False}

    def blank(some: list[Picture], shift: str) -> Grey:
        made = prepared(some, shift)
        for place, one in enumerate(some):
            if one.source in tuberculosis.JUDGING and not tuberculosis.chooses(one):
                made[place] = np.random.default_rng(place).integers(0, 255, made[place].shape)
        return made

    monkeypatch.setattr(tuberculosis, "prepared", blank)
    after = tuberculosis.measure(folder)
    for what, figures in found.items():
        assert after[what]["choosing"] == figures["choosing"]
        assert after[what].get("strength") == figures.get("strength")
    assert after["thumbnails"]["across"] != found["thumbnails"]["across"]
