"""Model folders are found by looking and checked in plain words; nothing is guessed and nothing is skipped."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import triton_models
from schemas.errors import UserError

CARD = """
from dataclasses import replace
from triton_models.icu_mortality.card import CARD as ICU
CARD = replace(ICU, **{changes!r})
"""
PREPROCESS = "FEATURES = ('a', 'b')\n\n\ndef prepare(thing):\n    return thing\n"
DECODE = "def decode(outputs, card=None):\n    return []\n"
TRAIN = "raise ImportError('torch is not here')\n"


def write_toy(folder: Path, name: str, changes: dict[str, Any] | None = None, **files: str | None) -> None:
    """A small model folder; `changes` go into its card, `files` replace a part's text (None: no such file)."""
    home = folder / name
    home.mkdir(parents=True)
    changed = {"name": name, "train": f"triton_models.{name}.train.train"} | (changes or {})
    card = CARD.format(changes=changed)
    content = {"__init__": "", "card": card, "preprocess": PREPROCESS, "decode": DECODE, "train": TRAIN} | files
    for stem, text in content.items():
        if text is not None:
            (home / f"{stem}.py").write_text(text)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of models beside the package's own; forgotten again afterwards."""
    known, path = set(sys.modules), list(triton_models.__path__)
    yield tmp_path
    triton_models.__path__[:] = path
    for name in set(sys.modules) - known:
        if name.startswith("triton_models."):
            del sys.modules[name]


def test_the_packages_own_models_are_found_in_order_and_ready_to_serve() -> None:
    """S3, ME10."""
    found = triton_models.discover()
    assert list(found) == sorted(found)
    expected = {"chest_xray", "fracture", "glucose", "icu_mortality", "otoscope_diagnosis", "otoscope_screening"}
    assert expected <= set(found)
    for name, model in found.items():
        assert model.card.name == name
        assert model.weights_path.is_file()


def test_finding_models_brings_no_torch_into_a_serving_process() -> None:
    """A worker process must stay small: torch costs 300 MB and 3 s."""
    code = "import sys, triton_models; triton_models.discover(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_folder_dropped_into_a_tree_is_a_model(folder: Path) -> None:
    """Adding a model means adding one folder."""
    write_toy(folder, "toy_added")
    model = triton_models.discover(folder)["toy_added"]
    assert model.card.name == "toy_added"
    assert model.prepare("x") == "x"
    assert model.features == ("a", "b")


def test_the_training_function_is_imported_on_use_only(folder: Path) -> None:
    write_toy(folder, "toy_lazy")
    model = triton_models.discover(folder)["toy_lazy"]
    with pytest.raises(ImportError, match="torch is not here"):
        _ = model.train


@pytest.mark.parametrize("part", ["card", "preprocess", "decode"])
def test_a_folder_that_lacks_a_part_is_an_error_that_names_it(folder: Path, part: str) -> None:
    write_toy(folder, f"toy_without_{part}", **{part: None})
    with pytest.raises(UserError, match=f"toy_without_{part} has no {part}.py"):
        triton_models.discover(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "other"}, "must be the folder's name 'toy_odd0'"),
        ({"version": "1"}, "must look like 1.0.0"),
        ({"positive_label": "maybe"}, "names one of its labels as the positive one"),
        ({"abstention_band": (0.9, 0.1)}, "must be ordered"),
        ({"train": "nowhere.train.train"}, "must be a dotted path"),
        ({"labels": ("same", "same"), "positive_label": "same"}, "labels must be at least two and differ"),
    ],
)
def test_a_card_that_contradicts_itself_says_how(folder: Path, changes: dict[str, Any], said: str) -> None:
    write_toy(folder, "toy_odd0", changes)
    with pytest.raises(UserError, match=said):
        triton_models.discover(folder)


def test_a_part_without_its_function_is_named(folder: Path) -> None:
    write_toy(folder, "toy_empty", decode="")
    with pytest.raises(UserError, match=r"decode.py does not define `decode`"):
        triton_models.discover(folder)


def test_a_model_of_measurements_must_name_them(folder: Path) -> None:
    write_toy(folder, "toy_nameless", preprocess="def prepare(thing):\n    return thing\n")
    with pytest.raises(UserError, match=r"preprocess.py does not define `FEATURES`"):
        triton_models.discover(folder)


def test_a_card_of_another_kind_is_refused(folder: Path) -> None:
    write_toy(folder, "toy_dict", card="CARD = dict()")
    with pytest.raises(UserError, match=r"must be a schemas\.card\.ModelCard, not dict"):
        triton_models.discover(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        triton_models.discover(tmp_path / "nowhere")
