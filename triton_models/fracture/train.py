"""Trains `fracture` on images and boxes, exports it to ONNX and measures that; its helpers import torch too."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version as installed
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from triton_models.calibration import raw_logits
from triton_models.chest_xray import charts
from triton_models.fracture.card import CARD
from triton_models.fracture.collection import Division, divide
from triton_models.fracture.framing import COLUMNS, ROWS
from triton_models.fracture.learning import QUICK, Progress, Recipe, fit_readout, learn
from triton_models.fracture.measure import CHOOSING_SHIFTS, SHOWN_SHIFTS, Scorer, choose, is_fractured, measure
from triton_models.fracture.network import BoneNet, Readout
from triton_models.half import halve_weights
from triton_models.trained import TrainedModel, machine

SEED = 20261128


class Served(nn.Module):
    """The trained network with its calibration, as served: uint8 pixels to probabilities [batch, 2] and places.

    Probabilities are (normal, fracture) = 1 - p, p with p = sigmoid(logit / temperature + bias).
    """

    def __init__(self, network: BoneNet, readout: Readout, temperature: float, bias: float) -> None:
        super().__init__()
        self.network, self.readout = network, readout
        self.temperature = temperature
        self.bias = bias

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        summary, places = self.network.summary(pixels)
        broken = torch.sigmoid(self.readout(summary)[:, None] / self.temperature + self.bias)
        return torch.cat([1.0 - broken, broken], dim=1), torch.sigmoid(places)


def export(served: Served, path: Path) -> None:
    """Writes ONNX (opset 17, any batch) whose weights are stored as float16 and computed as float32."""
    served.eval()
    names = ("pixels", "probability", "places")
    torch.onnx.export(
        served,
        (torch.zeros((2, 1, ROWS, COLUMNS), dtype=torch.uint8),),
        str(path),
        input_names=list(names[:1]),
        output_names=list(names[1:]),
        opset_version=17,
        dynamic_axes={name: {0: "batch"} for name in names},
        dynamo=False,
    )
    model = onnx.load(str(path))
    halve_weights(model)
    for output, spec in zip(model.graph.output, CARD.outputs, strict=True):
        for dimension, size in zip(output.type.tensor_type.shape.dim[1:], spec.shape, strict=False):
            dimension.dim_value = size
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def train(
    data_dir: Path,
    out_dir: Path,
    *,
    quick: bool = False,
    seed: int = SEED,
    init: Path | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """Trains, chooses, calibrates, exports and measures; writes everything into `out_dir` and says what came out.

    `quick` takes a few images, a thin network and two short epochs, to rehearse. `init` names domain weights, such as
    `chest_xray.onnx`. A killed run with the same recipe, seed, data and start goes on from its last epoch. Raises
    `UserError` where the data is missing or too small, `init` does not fit, and where the loss is lost.
    """
    say: Progress = progress or (lambda line: None)
    recipe = QUICK if quick else Recipe()
    out_dir.mkdir(parents=True, exist_ok=True)
    division = divide(data_dir, seed, recipe.few)
    sizes = tuple(len(part) for part in (division.train, division.validation, division.test))
    say("images: {} to train on, {} to choose by, {} held back".format(*sizes))
    network, history = learn(division, recipe, out_dir, seed=seed, init=init, say=say)
    say("fitting the readout, exporting and calibrating")
    readout, strengths = fit_readout(network, division)
    path = out_dir / "model.onnx"
    export(Served(network, readout, 1.0, 0.0), path)
    raw = Scorer(path)
    choice = choose(
        is_fractured(division.validation),
        {shift: raw_logits(raw(division.validation, shift)) for shift in CHOOSING_SHIFTS},
    )
    export(Served(network, readout, choice.temperature, choice.bias), path)
    say(f"measuring on {len(division.test)} images of groups held back")
    scorer, shifts = Scorer(path), SHOWN_SHIFTS[:1] if quick else SHOWN_SHIFTS
    plain, maps = scorer.both(division.test)
    by_shift = {"as delivered": plain} | {shift: scorer(division.test, shift) for shift in shifts[1:]}
    found, metrics = measure(division.test, by_shift, maps, choice)
    charts.draw(
        out_dir, history, is_fractured(division.test), by_shift, choice.threshold, choice.band, ("normal", "fracture")
    )
    start = {"init": init.name if init else "none"}
    return _record(path, division, found, metrics | strengths, history, asdict(recipe) | start, seed=seed, quick=quick)


def _record(
    path: Path,
    division: Division,
    found: dict[str, tuple[float, float, float]],
    metrics: dict[str, float],
    history: Sequence[dict[str, float]],
    recipe: dict[str, object],
    *,
    seed: int,
    quick: bool,
) -> TrainedModel:
    """The run as a record, with metadata.json and history.json beside its ONNX."""
    below = f"auroc {metrics['auroc']:.3f} is below its floor of {CARD.gate.floor}: add images, then epochs"
    packages = ("numpy", "pillow", "onnx", "onnxruntime", "torch")
    trained = TrainedModel(
        name=CARD.name,
        version=CARD.version,
        onnx=path,
        seed=seed,
        quick=quick,
        metrics=metrics | {"loss": history[-1]["loss"], "epochs": float(len(history))},
        figures=found,
        split_sizes=division.sizes(),
        recipe=recipe,
        hardware=machine(),
        dependencies={package: installed(package) for package in packages},
        data_hash=division.data_hash,
        missed=[] if metrics["auroc"] >= CARD.gate.floor else [below],
    )
    trained.write_metadata(path.with_name("metadata.json"))
    path.with_name("history.json").write_text(json.dumps(list(history), indent=1) + "\n", encoding="utf-8")
    return trained
