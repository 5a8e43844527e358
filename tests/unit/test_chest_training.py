"""`train.py` from images to a measured ONNX, on invented images: rehearsal, rerun, refusals (ME8, ME10, GK11)."""

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from schemas.errors import UserError
from triton_models._vision.served import Served
from triton_models._vision.trunk import start_from
from triton_models.calibration import calibration_error, platt
from triton_models.chest_xray import learning
from triton_models.chest_xray import train as training
from triton_models.chest_xray.measure import operating_threshold
from triton_models.trained import TrainedModel

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own TorchScript exporter
    pytest.mark.usefixtures("one_thread"),
]

QUICK = replace(training.QUICK, people=None)


@dataclass(frozen=True)
class Run:
    """A rehearsal and what it said on the way."""

    trained: TrainedModel
    told: list[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 people of each class; the ill have a bright patch, so that there is something to learn."""
    made = tmp_path_factory.mktemp("chest")
    rng = np.random.default_rng(9)
    rows = ["path,label,subtype,patient,source,licence"]
    for person in range(96):
        ill = person % 2 == 1
        grey = rng.normal(100, 25, (96, 96))
        if ill:
            grey[40:70, 20:50] += 90
        Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(made / f"{person}.png")
        kind = "pneumonia,bacteria" if ill else "normal,normal"
        rows.append(f"{person}.png,{kind},{person},kermany,CC BY 4.0")
    (made / "chest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return made


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "QUICK", QUICK)


@pytest.fixture(scope="module")
def rehearsed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One rehearsal that several tests look at."""
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "QUICK", QUICK)
        return Run(training.train(folder, tmp_path_factory.mktemp("run"), quick=True, progress=told.append), told)


def test_a_rehearsal_writes_everything_that_a_release_needs(rehearsed: Run) -> None:
    made = rehearsed.trained.onnx.parent
    charts = {"learning_curves.png", "roc.png", "confusion.png", "scores.png"}
    assert {"model.onnx", "metadata.json", "history.json", *charts} <= {path.name for path in made.iterdir()}
    metadata = json.loads((made / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["data_hash"] == rehearsed.trained.data_hash
    assert metadata["seed"] == training.SEED
    assert {"torch", "numpy", "onnxruntime"} <= set(metadata["dependencies"])
    assert sum(value for name, value in metadata["split_sizes"].items() if "people" not in name) == 96
    value, low, high = rehearsed.trained.figures["auroc, as delivered"]
    assert 0.0 <= low <= value <= high <= 1.0
    assert any("epoch 1 of 1" in line for line in rehearsed.told)


def test_a_second_run_with_the_seed_gives_the_same_file(folder: Path, rehearsed: Run, tmp_path: Path) -> None:
    again = training.train(folder, tmp_path, quick=True)
    assert again.onnx.read_bytes() == rehearsed.trained.onnx.read_bytes()
    assert again.figures == rehearsed.trained.figures


def test_a_finished_run_is_not_trained_again(
    folder: Path, rehearsed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = Path(shutil.copytree(rehearsed.trained.onnx.parent, tmp_path / "copy"))
    monkeypatch.setattr(learning, "run_epoch", lambda *_: pytest.fail("an epoch was run"))
    told: list[str] = []
    again = training.train(folder, copied, quick=True, progress=told.append)
    assert any("going on after epoch 1" in line for line in told)
    assert again.figures == rehearsed.trained.figures


def test_the_served_file_answers_what_the_network_answers(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = learning.LungNet(16).eval()
    served = Served(network, 2.0, -0.5)
    training.export(served, 128, tmp_path / "model.onnx")
    pixels = np.random.default_rng(1).integers(0, 256, (3, 1, 128, 128), dtype=np.uint8)
    answer, places = onnxruntime.InferenceSession(str(tmp_path / "model.onnx")).run(None, {"pixels": pixels})
    with torch.inference_mode():
        expected = torch.sigmoid(network(torch.from_numpy(pixels))[:, 0] / 2.0 - 0.5).numpy()
    assert np.abs(answer[:, 1] - expected).max() < 2e-3  # weights are kept in half precision
    assert np.allclose(answer.sum(axis=1), 1.0, atol=1e-6)
    assert places.shape == (3, 4, 4)
    assert 1 / (1 + np.exp(-places.mean(axis=(1, 2)))) == pytest.approx(answer[:, 1], abs=1e-4)


def test_a_lost_loss_stops_the_run_with_cause_and_advice(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning, "loss_of", lambda logits, *rest: logits.sum() * float("nan"))
    with pytest.raises(UserError, match=r"loss became nan in epoch 1, step 1.*Halve.*peak_rate"):
        training.train(folder, tmp_path, quick=True)


def test_domain_weights_start_a_run_and_others_are_refused(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(2)
    given = learning.LungNet(QUICK.width).state_dict()
    torch.save(given, tmp_path / "domain.pt")
    network = learning.LungNet(QUICK.width)
    start_from(network, tmp_path / "domain.pt")
    assert torch.equal(network.state_dict()["trunk.0.weight"], given["trunk.0.weight"])
    torch.save({"something.else": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other.pt holds 0 of the"):
        training.train(folder, tmp_path / "run", quick=True, init=tmp_path / "other.pt")
    (tmp_path / "text.pt").write_text("not weights", encoding="utf-8")
    with pytest.raises(UserError, match="not a file of PyTorch weights"):
        start_from(network, tmp_path / "text.pt")


def test_calibration_recovers_the_scale_of_overconfident_logits() -> None:
    rng = np.random.default_rng(10)
    honest = rng.normal(0, 1.5, 20_000)
    truth = rng.random(20_000) < 1 / (1 + np.exp(-honest))
    temperature, bias = platt(honest * 4 + 1, truth)
    assert temperature == pytest.approx(4.0, rel=0.05)
    assert bias == pytest.approx(-0.25, abs=0.05)
    calibrated = 1 / (1 + np.exp(-((honest * 4 + 1) / temperature + bias)))
    assert calibration_error(truth, calibrated) < 0.02


def test_the_threshold_keeps_98_of_100_over_all_shifts_and_95_on_each() -> None:
    truth = np.array([True] * 100 + [False] * 100)
    plain = np.concatenate([np.linspace(0.5, 1.0, 100), np.linspace(0.0, 0.4, 100)])
    worse = np.concatenate([np.linspace(0.2, 1.0, 100), np.linspace(0.0, 0.4, 100)])
    threshold = operating_threshold(truth, {"as delivered": plain, "dark": worse})
    ill = np.concatenate([plain[:100], worse[:100]])
    assert (ill >= threshold).mean() >= 0.98
    assert (worse[:100] >= threshold).mean() >= 0.95
    assert threshold <= plain[2]
