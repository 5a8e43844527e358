"""The split keeps people and twin images together and never moves anyone (ME3, ME8, OT4)."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from schemas.errors import UserError
from triton_models.chest_xray.collection import divide, join_twins, part_of, read_index

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
HEADER = "path,label,subtype,patient,source,licence\n"


def collection(folder: Path, people: int, images_each: int = 2) -> Path:
    """Noise images, no two alike, of `people` normal and as many ill people."""
    rng = np.random.default_rng(5)
    rows = []
    for label, subtype, letter in (("normal", "normal", "N"), ("pneumonia", "virus", "P")):
        for person in range(people):
            for image in range(images_each):
                name = f"{letter}{person}_{image}.png"
                Image.fromarray(rng.integers(0, 255, (40, 40), dtype=np.uint8)).save(folder / name)
                rows.append(f"{name},{label},{subtype},{letter}{person},kermany,CC BY 4.0\n")
    (folder / "chest.csv").write_text(HEADER + "".join(rows), encoding="utf-8")
    return folder


def test_no_person_is_in_two_parts(tmp_path: Path) -> None:
    division = divide(collection(tmp_path, 60), seed=1)
    parts = [{picture.group for picture in part} for part in (division.train, division.validation, division.test)]
    assert all(parts)
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    assert sum(len(part) for part in (division.train, division.validation, division.test)) == 240


def test_equal_seeds_split_equally_and_others_do_not(tmp_path: Path) -> None:
    folder = collection(tmp_path, 60)
    first, second, other = divide(folder, 1), divide(folder, 1), divide(folder, 2)
    assert first == second
    assert first.test != other.test
    assert first.data_hash == other.data_hash


def test_new_people_move_nobody() -> None:
    before = {f"kermany:P{number}": part_of(f"kermany:P{number}", 7) for number in range(100)}
    assert all(part_of(group, 7) == part for group, part in before.items())
    shares = [list(before.values()).count(part) for part in ("train", "validation", "test")]
    assert shares[0] > 55
    assert min(shares[1:]) > 5


def test_a_changed_pixel_changes_the_data_hash(tmp_path: Path) -> None:
    folder = collection(tmp_path, 60)
    before = divide(folder, 1).data_hash
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(folder / "N0_0.png")
    assert divide(folder, 1).data_hash != before


def test_people_who_share_a_twin_image_become_one_group() -> None:
    rng = np.random.default_rng(6)
    images = rng.integers(0, 255, (4, 64, 64), dtype=np.uint8)
    images[3] = np.clip(images[0].astype(int) + rng.integers(-3, 4, (64, 64)), 0, 255)
    assert join_twins(["a", "b", "c", "d"], images) == ["a", "b", "c", "a"]


def test_missing_data_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"chest.csv is missing: point --data"):
        divide(tmp_path, 1)


def test_a_listed_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = collection(tmp_path, 5)
    (folder / "P3_1.png").unlink()
    with pytest.raises(UserError, match=r"P3_1.png is listed"):
        divide(folder, 1)


def test_too_few_people_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lacks a class"):
        divide(collection(tmp_path, 1), 1)


@pytest.mark.skipif(not (SHARED / "chest.csv").is_file(), reason=f"the shared chest collection is not at {SHARED}")
def test_only_redistributable_images_may_be_trained_on() -> None:
    """Weights in the repository come from CC BY 4.0 images alone."""
    trainable = [picture for picture in read_index(SHARED) if picture.source == "kermany"]
    assert len(trainable) == 5216
    lines = (SHARED / "chest.csv").read_text(encoding="utf-8").splitlines()
    assert all(line.endswith("CC BY 4.0") for line in lines if ",kermany," in line)
