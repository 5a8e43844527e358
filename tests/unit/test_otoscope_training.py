"""Both otoscope models rehearse from photographs to a measured ONNX, and go on where they were (ME8, OT9, OT13)."""

import importlib
import json
from pathlib import Path

import pytest

from tests.unit.test_otoscopy_collection import collection
from triton_models._otoscopy import learning

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own TorchScript exporter


@pytest.mark.parametrize("name", ["otoscope_screening", "otoscope_diagnosis"])
def test_a_rehearsal_writes_what_a_release_needs_and_a_finished_one_is_not_trained_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch", reason="training needs requirements/train.lock")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train = importlib.import_module(f"triton_models.{name}.train").train
        data, out = collection(tmp_path), tmp_path / "run"
        trained = train(data, out, quick=True)
        monkeypatch.setattr(learning, "_run_epoch", lambda *_: pytest.fail("an epoch was run"))
        told: list[str] = []
        again = train(data, out, quick=True, progress=told.append)
    finally:
        torch.set_num_threads(threads)
    assert sum("going on after epoch 1" in line for line in told) == 4
    assert again.figures == trained.figures
    charts = {"learning_curves.png", "roc.png", "confusion.png", "scores.png"}
    assert {"model.onnx", "metadata.json", "history.json", "report.md", *charts} <= {one.name for one in out.iterdir()}
    metadata = json.loads((out / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["data_hash"] == trained.data_hash
    assert {"torch", "numpy", "onnxruntime"} <= set(metadata["dependencies"])
