"""`clinstream quality` on a handful of packaged pictures: what is counted, and that a fit is one (CC10)."""

import json
import shutil
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from adapters import chest_look
from adapters.dicom_reading import decode_dicom
from adapters.imaging import to_display
from clinstream import samples
from clinstream.__main__ import build
from clinstream.gate import fitting, measure, pictures

CHESTS = sorted(samples.IMAGES.glob("chest-*.jpeg"))


def someone(prefix: str, part: str) -> str:
    """A number that the rule of the split puts into a part."""
    return next(str(n) for n in count() if pictures.part_of(f"{prefix}{n}") == part)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder: four chests, a hand and an ear, each once for fitting and once held back."""
    shutil.copytree(samples.IMAGES, tmp_path / "dicom", ignore=shutil.ignore_patterns("*.jpeg"))
    Image.fromarray(to_display(decode_dicom((samples.IMAGES / "hand.dcm").read_bytes()))).save(tmp_path / "hand.png")
    shutil.copy(next(samples.IMAGES.parent.glob("otoscope/*.jpg")), tmp_path / "ear.jpg")
    for chest in CHESTS:
        shutil.copy(chest, tmp_path / chest.name)
    parts = ("train", "test")
    chests = [
        f"{path.name},kermany,{someone('kermany:', part)}" for part in parts for path in CHESTS
    ] + [f"{CHESTS[0].name},elsewhere,1"]  # fmt: skip
    (tmp_path / "chest.csv").write_text("\n".join(["path,source,patient", *chests]))
    (tmp_path / "fracture.csv").write_text("\n".join(["path,group", *(f"hand.png,{someone('f', p)}" for p in parts)]))
    ears = [f"ear.jpg,{someone('o', part)}" for part in parts]
    (tmp_path / "otoscope.csv").write_text("\n".join(["path,near_dup_cluster", *ears]))
    return tmp_path


def test_usable_and_unusable_pictures_are_counted_apart(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PAGES", 3)
    told = CliRunner().invoke(build(["quality"]), ["quality", "--data", str(data), "--json"])
    found = json.loads(told.stdout)
    usable = {share["name"]: (share["n"], share["refused"][0]) for share in found["usable"]}
    assert usable == {
        "elsewhere, never fitted on": (1, 0.0),
        "kermany, seen": (4, 0.0),
        "kermany, held back": (4, 0.0),
        "fracatlas, seen": (1, 0.0),
        "fracatlas, held back": (1, 0.0),
    }
    assert told.exit_code == 0
    unusable = {(share["gate"], share["name"]): share for share in found["unusable"]}
    assert unusable["chest", "upper limb, held back"]["codes"] == {"wrong_body_part": 1}
    assert unusable["chest", "otoscope photograph"]["codes"] == {"not_radiograph": 2}
    assert unusable["limb", "dark page"]["refused"][0] == 1.0
    assert unusable["limb", "chest, held back"]["codes"] == {"wrong_body_part": 4}
    assert unusable["chest", "chest upside down"]["n"] == 4
    assert found["cost_ms"] > 0


def test_a_source_of_which_too_many_are_refused_fails_the_command(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PAGES", 1)
    Image.fromarray(np.rot90(np.asarray(Image.open(CHESTS[0])), 1)).save(data / CHESTS[0].name)
    assert CliRunner().invoke(build(["quality"]), ["quality", "--data", str(data)]).exit_code == 1


def test_what_research_measures_is_told_by_how_often_there_is_none_and_how_it_agrees_with_itself(data: Path) -> None:
    """CC12: three of four packaged chests have a ratio, an ear and a little hand have nothing."""
    told = CliRunner().invoke(build(["quality"]), ["quality", "--data", str(data), "--research", "--json"])
    found = {(each["measure"], each["source"]): each for each in json.loads(told.stdout)}
    chests = found["cardiothoracic_ratio", "kermany"]
    assert (chests["n"], sum(chests["reasons"].values()), chests["mirrored"]["none"]) == (4, 1, 0)
    assert 0.3 < chests["spread"][0] <= chests["spread"][1] <= chests["spread"][2] < 0.6
    assert chests["mirrored"]["most"] <= 0.01
    assert found["cardiothoracic_ratio", "elsewhere"]["reasons"] == {}
    for key in (("cardiothoracic_ratio", "viscaino"), ("cortical_ratio", "viscaino"), ("cortical_ratio", "fracatlas")):
        assert sum(found[key]["reasons"].values()) == found[key]["n"] == 1


def test_a_fit_tells_apart_what_it_was_fitted_on_and_is_equal_for_equal_data(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "ROWS", 16)
    monkeypatch.setattr(fitting, "EPOCHS", 300)
    for name in ("one.json", "two.json"):
        fitting.fit(data, tmp_path / name, lambda sentence: None)
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()
    monkeypatch.setattr(chest_look, "WEIGHTS", tmp_path / "one.json")
    chest_look.fitted.cache_clear()
    try:
        hand = np.asarray(Image.open(data / "hand.png"))
        likest = [
            max(like, key=lambda way: like[way]) for like in map(chest_look.likeness, (upright(), turned(), hand))
        ]
    finally:
        chest_look.fitted.cache_clear()
    assert likest == ["whole", "upside_down", "other"]


def upright() -> np.ndarray:
    return np.asarray(Image.open(CHESTS[1]).convert("L"))


def turned() -> np.ndarray:
    return np.ascontiguousarray(np.rot90(upright(), 2))
