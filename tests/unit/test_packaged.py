"""Weights that come with their model folder: those that were measured serve, and the log says what that was."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import triton_models
from schemas.errors import Conflict
from triton_models import Model, packaged

MODELS = triton_models.discover()


@pytest.fixture
def copied(tmp_path: Path) -> Model:
    """The smallest packaged model in a folder of models of its own, with the record."""
    model = MODELS["glucose"]
    home = tmp_path / "models"
    (home / "glucose").mkdir(parents=True)
    path = shutil.copy(model.weights_path, home / "glucose" / model.weights_path.name)
    shutil.copy(packaged.HOME / packaged.RECORD, home)
    return replace(model, weights_path=Path(path))


@pytest.mark.parametrize("name", sorted(MODELS))
def test_what_is_packaged_is_what_was_measured_and_its_row_says_what_that_is(name: str) -> None:
    """CC6: new weights without a new record, and figures without their file, do not leave the house."""
    model = MODELS[name]
    assert packaged.weights_of(model) == model.weights_path
    said = packaged.reason(model)
    assert packaged.digest(model.weights_path)[:12] in said
    point = model.card.operating_point
    assert point is None or (f"{point.sensitivity[0]:.3f}" in said and point.measured_on in said)


def test_another_file_is_not_served_and_the_sentence_names_it(copied: Model) -> None:
    """CC6: one byte, or somebody's own file under the name of the released one."""
    assert packaged.weights_of(copied) == copied.weights_path
    good = copied.weights_path.read_bytes()
    copied.weights_path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(Conflict, match=r"glucose/glucose\.onnx is not the file that was measured"):
        packaged.weights_of(copied)
    card = copied.card
    with pytest.raises(Conflict):
        packaged.weights_for(copied, [(card.name, card.version)])
    assert packaged.weights_for(copied, [(card.name, "9.9.9")]) == copied.weights_path, "a trained version serves on"
    copied.weights_path.write_bytes(good)
    assert packaged.weights_of(copied) == copied.weights_path, "brought back as it was released"


def test_a_model_that_nobody_noted_does_not_serve_beside_noted_ones_and_a_users_own_folder_needs_no_record(
    copied: Model,
) -> None:
    record = copied.weights_path.parent.parent / packaged.RECORD
    record.write_text("".join(line for line in record.read_text().splitlines(True) if "glucose" not in line))
    with pytest.raises(Conflict):
        packaged.weights_of(copied)
    record.unlink()
    assert packaged.weights_of(copied) == copied.weights_path


def test_the_record_is_held_to_the_files_and_written_anew(copied: Model, capsys: pytest.CaptureFixture[str]) -> None:
    """What `make check` says names what differs, also a file that is gone."""
    home = copied.weights_path.parent.parent
    assert packaged.main(home) == 1
    assert "chest_xray/chest_xray.onnx" in capsys.readouterr().err
    assert packaged.main(home, write=True) == packaged.main(home) == 0
    copied.weights_path.write_bytes(b"other")
    assert packaged.main(home) == 1
    assert "glucose/glucose.onnx" in capsys.readouterr().err
    assert packaged.main() == 0
