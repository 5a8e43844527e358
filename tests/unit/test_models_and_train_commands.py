"""`clinstream models` and `clinstream train` without servers: what they print, what they refuse and with which exit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import triton_models
from schemas.errors import UserError
from tests.unit.test_icu_training import write_table
from training.run import Order, run


def clinstream(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command line in a home where nothing runs."""
    environment = {"CLINSTREAM_HOME": str(home), "PATH": "/usr/bin:/bin", "HOME": str(home)}
    argv = [sys.executable, "-m", "clinstream", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300, env=environment)


def test_the_list_names_every_model_and_says_that_the_release_log_is_unknown(tmp_path: Path) -> None:
    done = clinstream(tmp_path, "models", "list")
    assert done.returncode == 0, done.stderr
    for name, model in triton_models.discover().items():
        assert name in done.stdout
        assert model.card.version in done.stdout
    assert "the stack is not running" in done.stdout
    found = json.loads(clinstream(tmp_path, "models", "list", "--json").stdout)
    assert [row["name"] for row in found] == list(triton_models.discover())
    assert {row["state"] for row in found} == {None}


def test_a_card_is_shown_whole_with_its_notice_and_limits(tmp_path: Path) -> None:
    """CC26: who looks a model up reads what it must not be used for."""
    card = triton_models.discover()["icu_mortality"].card
    found = json.loads(clinstream(tmp_path, "models", "show", "icu_mortality", "--json").stdout)
    assert found["notice"] == card.notice
    assert found["limits"] == list(card.limits)
    assert found["operating_point"]["threshold"] == card.threshold
    assert found["releases"] is None
    shown = clinstream(tmp_path, "models", "show", "chest_xray")
    assert "CR, DX" in shown.stdout
    assert "Research use only" in shown.stdout


def test_an_unknown_model_is_one_sentence_with_the_names_there_are(tmp_path: Path) -> None:
    for arguments in (["models", "show", "x"], ["train", "x", "--data", "."], ["evaluate", "x"]):
        done = clinstream(tmp_path, *arguments)
        assert done.returncode == 2
        names = ", ".join(triton_models.discover())
        assert done.stderr == f"There is no model x; choose from: {names}.\n"


def test_a_rehearsal_leaves_a_candidate_in_its_own_folder_and_says_so(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs requirements/train.lock")
    data = write_table(tmp_path / "stays.csv", 300)
    out = tmp_path / "run"
    argv = ["train", "icu_mortality", "--data", str(data), "--out", str(out), "--quick", "--json"]
    done = clinstream(tmp_path, *argv)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["quick"] is True
    assert Path(found["onnx"]).is_file()
    assert "epoch 1 of" in done.stderr
    again = clinstream(tmp_path, *argv)
    assert again.returncode == 2
    assert "holds a finished run already" in again.stderr


def test_too_little_data_is_one_sentence_with_the_way_out(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs requirements/train.lock")
    data = write_table(tmp_path / "stays.csv", 100)
    done = clinstream(tmp_path, "train", "icu_mortality", "--data", str(data), "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "at least 200 labelled rows and got 100" in done.stderr
    assert "Traceback" not in done.stderr


def test_data_that_is_not_there_is_named_before_anything_is_imported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        run(Order("icu_mortality", tmp_path / "nowhere", tmp_path / "run"))
