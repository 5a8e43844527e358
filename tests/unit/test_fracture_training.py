"""`fracture` from images and boxes to a measured ONNX, on invented images: rehearsal, rerun, refusals (ME8, ME10)."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from schemas.errors import UserError
from triton_models.calibration import raw_logits
from triton_models.fracture import collection, crossfit
from triton_models.fracture import train as training
from triton_models.fracture.framing import COLUMNS, ROWS, STRIDE
from triton_models.fracture.network import BoneNet, start_from
from triton_models.fracture.preprocess import prepare
from triton_models.trained import TrainedModel

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # torch's own TorchScript exporter
    pytest.mark.usefixtures("one_thread"),
]

CHEST = Path(str(files("triton_models.chest_xray") / "chest_xray.onnx"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """56 limbs of 56 groups, every second with a bright spot that a box names, sizes as if shrunk by two."""
    made = tmp_path_factory.mktemp("bones")
    rng = np.random.default_rng(9)
    rows = ["path,label,group,fracture_count,hardware,multiscan,frontal,lateral,oblique,original_width_px,"]
    rows[0] += "original_height_px,licence"
    boxes = ["image_id,x_px,y_px,width_px,height_px"]
    for number in range(56):
        grey = rng.normal(20, 4, (150, 120))
        grey[20:130, 45:75] += 90
        if number % 2:
            top = int(rng.integers(30, 100))
            grey[top : top + 12, 52:64] += 90
            boxes.append(f"{number}.jpg,104,{2 * top},24,24")
        Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(made / f"{number}.jpg")
        label = "fractured" if number % 2 else "normal"
        rows.append(f"{number}.jpg,{label},{number},{number % 2},0,0,1,0,0,240,300,CC BY 4.0")
    (made / collection.INDEX).write_text("\n".join(rows) + "\n", encoding="utf-8")
    (made / collection.BOXES).write_text("\n".join(boxes) + "\n", encoding="utf-8")
    return made


@pytest.fixture(scope="module")
def rehearsed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """One rehearsal that several tests look at."""
    return training.train(folder, tmp_path_factory.mktemp("run"), quick=True)


def test_a_rehearsal_writes_everything_that_a_release_needs(rehearsed: TrainedModel) -> None:
    """CC36."""
    made = rehearsed.onnx.parent
    charts = {"learning_curves.png", "roc.png", "confusion.png", "scores.png"}
    assert {"model.onnx", "metadata.json", "history.json", *charts} <= {path.name for path in made.iterdir()}
    metadata = json.loads((made / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["data_hash"] == rehearsed.data_hash
    assert {"auroc, as delivered", "pointed at", "specificity, as delivered"} <= set(metadata["figures"])
    assert 0.0 <= metadata["metrics"]["band low"] <= metadata["metrics"]["threshold"]


def test_the_rehearsed_file_gives_probabilities_and_places(rehearsed: TrainedModel) -> None:
    """ME5: the heat map is an output of the served file."""
    session = onnxruntime.InferenceSession(rehearsed.onnx, providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(1).integers(0, 255, (3, 1, ROWS, COLUMNS)).astype(np.uint8)
    probability, places = session.run(["probability", "places"], {"pixels": pixels})
    assert probability.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert places.shape == (3, ROWS // STRIDE, COLUMNS // STRIDE)
    assert 0.0 <= places.min() <= places.max() <= 1.0


def test_a_killed_run_goes_on_and_ends_with_the_same_file(
    folder: Path, rehearsed: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ME8: equal seed and data give an equal file, also over an interruption."""
    from triton_models.fracture import learning

    real = learning.run_epoch
    told: list[str] = []

    def dies(state: learning.State, *rest: object) -> float:
        if state.history:
            raise KeyboardInterrupt
        return real(state, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(learning, "run_epoch", dies)
        with pytest.raises(KeyboardInterrupt):
            training.train(folder, tmp_path, quick=True)
    again = training.train(folder, tmp_path, quick=True, progress=told.append)
    assert "going on after epoch 1" in told
    assert again.onnx.read_bytes() == rehearsed.onnx.read_bytes()


def test_groups_stay_in_one_part_and_boxes_are_shares_of_the_original(folder: Path) -> None:
    """The fracture set's trap: near-duplicates share a group."""
    pictures = collection.read_index(folder)
    assert {len(picture.boxes) for picture in pictures if picture.fractured} == {1}
    box = next(picture.boxes[0] for picture in pictures if picture.fractured)
    assert (box.x, box.width) == pytest.approx((116 / 240, 0.1))
    division = collection.divide(folder, training.SEED)
    parts = [{picture.group for picture in part} for part in (division.train, division.validation, division.test)]
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == 56


def test_folds_share_no_group_and_each_image_is_unseen_once(folder: Path) -> None:
    """ME10: what chooses and calibrates is said by a network that has not learned from the image or its like."""
    pictures = collection.divide(folder, training.SEED).development
    parts = crossfit.shares(pictures, 3, training.SEED)
    assert sorted(one.path.name for _, unseen in parts for one in unseen) == sorted(one.path.name for one in pictures)
    for known, unseen in parts:
        assert not {one.group for one in known} & {one.group for one in unseen}
        assert {one.fractured for one in unseen} == {False, True}


def test_the_served_answer_is_that_of_the_networks_mean_logit(folder: Path, rehearsed: TrainedModel) -> None:
    pixels = np.stack([prepare(collection.grey(picture)) for picture in collection.read_index(folder)[:4]])

    def logits(path: Path) -> np.ndarray:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return raw_logits(session.run(["probability"], {"pixels": pixels})[0][:, 1].astype(np.float64))

    each = [logits(rehearsed.onnx.parent / f"fold-{number}" / "model.onnx") for number in range(2)]
    metrics = rehearsed.metrics
    expected = np.mean(each, axis=0) / metrics["temperature"] + metrics["bias"]
    assert np.abs(expected).max() < 10, "too near to 0 or 1 for the log odds of a float32"
    assert logits(rehearsed.onnx) == pytest.approx(expected, abs=1e-2)
    assert metrics["unseen auroc, as delivered"] == pytest.approx(
        max(value for name, value in metrics.items() if name.startswith("unseen auroc, readout")), abs=0.02
    )


def test_the_chest_networks_weights_are_a_start_that_keeps_what_they_compute() -> None:
    """CC29: transfer from another radiograph's network, out of the served file."""
    torch.manual_seed(0)
    network = BoneNet(32, 8)
    sample = torch.from_numpy(np.random.default_rng(2).integers(0, 255, (4, 1, 128, 128)).astype(np.float32))
    assert start_from(network, CHEST, sample) == 40
    model = onnx.load(CHEST)
    last = [node.output[0] for node in model.graph.node if node.op_type == "Relu"][-1]
    model.graph.output.append(onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run([last], {"pixels": sample.numpy().astype(np.uint8)})
    grey = sample - sample.mean(dim=(2, 3), keepdim=True)
    with torch.no_grad():
        found = network.eval().trunk(grey / (grey.square().mean(dim=(2, 3), keepdim=True).sqrt() + 4.0))
    assert np.abs(found.numpy() - expected).max() < 0.02 * np.abs(expected).max()


def test_weights_of_another_network_are_refused_with_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(UserError, match=r"text\.onnx"):
        start_from(BoneNet(8, 8), tmp_path / "text.onnx", torch.zeros(2, 1, 64, 64))
    with pytest.raises(UserError, match="another shape"):
        start_from(BoneNet(8, 8), CHEST, torch.zeros(2, 1, 64, 64))


def test_a_folder_without_the_index_or_an_image_says_what_is_missing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fracture\.csv is missing"):
        training.train(tmp_path, tmp_path / "out", quick=True)
    for name in (collection.INDEX, collection.BOXES):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(UserError, match=r"is listed in fracture\.csv but is not there"):
        training.train(tmp_path, tmp_path / "out", quick=True)
