"""Trains `fracture` on images and boxes, exports it to ONNX and measures that; its helpers import torch too."""

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from triton_models._vision import record
from triton_models._vision import served as files
from triton_models._vision.state import Progress
from triton_models.calibration import raw_logits
from triton_models.chest_xray import charts
from triton_models.fracture.card import CARD
from triton_models.fracture.collection import divide
from triton_models.fracture.framing import COLUMNS, ROWS
from triton_models.fracture.learning import QUICK, Recipe, learn
from triton_models.fracture.measure import CHOOSING_SHIFTS, SHOWN_SHIFTS, Scorer, choose, is_fractured, measure
from triton_models.fracture.network import BoneNet
from triton_models.fracture.readout import Readout, fit_readout
from triton_models.trained import TrainedModel

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
    """Writes what the card says comes out as ONNX."""
    files.export(served, (1, ROWS, COLUMNS), {output.name: output.shape for output in CARD.outputs}, path)


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
    return record.write(
        CARD,
        path,
        division,
        found,
        metrics | strengths,
        history,
        asdict(recipe) | start,
        seed=seed,
        quick=quick,
        missed=record.below_floor(CARD, metrics, "images"),
    )
