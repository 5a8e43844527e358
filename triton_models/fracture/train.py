"""Trains `fracture` on images and boxes, exports it to ONNX and measures that; its helpers import torch too."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from triton_models._vision import record
from triton_models._vision import served as files
from triton_models._vision.state import Progress
from triton_models.calibration import raw_logits
from triton_models.chest_xray import charts
from triton_models.figures import rank_auroc
from triton_models.fracture.card import CARD
from triton_models.fracture.collection import Division, divide
from triton_models.fracture.crossfit import Fold, choose_readouts, fit_fold
from triton_models.fracture.framing import COLUMNS, ROWS
from triton_models.fracture.learning import QUICK, Recipe
from triton_models.fracture.measure import (
    CHOOSING_SHIFTS,
    SHOWN_SHIFTS,
    Floats,
    OperatingChoice,
    Scorer,
    choose,
    is_fractured,
    measure,
)
from triton_models.fracture.network import BoneNet
from triton_models.fracture.readout import Readout
from triton_models.trained import TrainedModel

SEED = 20261128


class Served(nn.Module):
    """The trained networks with their calibration, as served: uint8 pixels to probabilities [batch, 2] and places.

    Probabilities are (normal, fracture) = 1 - p, p with p = sigmoid(logit / temperature + bias); the logit is the mean
    of the networks', and so is that of a place.
    """

    def __init__(self, read: Sequence[tuple[BoneNet, Readout]], temperature: float, bias: float) -> None:
        super().__init__()
        self.networks = nn.ModuleList(network for network, _ in read)
        self.readouts = nn.ModuleList(readout for _, readout in read)
        self.temperature = temperature
        self.bias = bias

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        logit, places = self._one(0, pixels)
        for number in range(1, len(self.networks)):
            more, seen = self._one(number, pixels)
            logit, places = logit + more, places + seen
        many = len(self.networks)
        broken = torch.sigmoid(logit[:, None] / many / self.temperature + self.bias)
        return torch.cat([1.0 - broken, broken], dim=1), torch.sigmoid(places / many)

    def _one(self, number: int, pixels: Tensor) -> tuple[Tensor, Tensor]:
        network = self.networks[number]
        assert isinstance(network, BoneNet)
        summary, places = network.summary(pixels)
        return self.readouts[number](summary), places


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

    `quick` takes a few images, thin networks and two short epochs, to rehearse. `init` names domain weights, such as
    `chest_xray.onnx`. A killed run with the same recipe, seed, data and start goes on from its last epoch. Raises
    `UserError` where the data is missing or too small, `init` does not fit, and where the loss is lost.
    """
    say: Progress = progress or (lambda line: None)
    recipe = QUICK if quick else Recipe()
    out_dir.mkdir(parents=True, exist_ok=True)
    division = divide(data_dir, seed, recipe.few)
    sizes = tuple(len(part) for part in (division.development, division.test))
    say("images: {} to develop on, {} held back".format(*sizes))
    fitted = [
        fit_fold(number, division.development, recipe, out_dir, seed=seed, init=init, say=say)
        for number in range(recipe.folds)
    ]
    folds, history = [fold for fold, _ in fitted], [row for _, rows in fitted for row in rows]
    say("choosing the readout, exporting and calibrating by what each network says of its unseen fold")
    readouts, tried = choose_readouts(folds)
    read = [(fold.network, readout) for fold, readout in zip(folds, readouts, strict=True)]
    choice, unseen = _choose(folds, read, division, out_dir)
    path = out_dir / "model.onnx"
    export(Served(read, choice.temperature, choice.bias), path)
    say("unseen: " + ", ".join(f"{name} {value:.4f}" for name, value in unseen.items()))
    say(f"measuring on {len(division.test)} images of groups held back")
    scorer, shifts = Scorer(path), SHOWN_SHIFTS[:1] if quick else SHOWN_SHIFTS
    plain, maps = scorer.both(division.test)
    by_shift = {"as delivered": plain} | {shift: scorer(division.test, shift) for shift in shifts[1:]}
    found, metrics = measure(division.test, by_shift, maps, choice)
    charts.draw(
        out_dir,
        history[-recipe.epochs :],
        is_fractured(division.test),
        by_shift,
        choice.threshold,
        choice.band,
        ("normal", "fracture"),
    )
    start = {"init": init.name if init else "none"}
    return record.write(
        CARD,
        path,
        division,
        found,
        metrics | tried | unseen,
        history,
        asdict(recipe) | start,
        seed=seed,
        quick=quick,
        missed=record.below_floor(CARD, metrics, "images"),
    )


def _choose(
    folds: Sequence[Fold], read: Sequence[tuple[BoneNet, Readout]], division: Division, out_dir: Path
) -> tuple[OperatingChoice, dict[str, float]]:
    """Calibration, threshold and band from each network's answers to its unseen fold, and how good those are."""
    logits: dict[str, list[Floats]] = {shift: [] for shift in CHOOSING_SHIFTS}
    worst: list[Floats] = []
    for number, (fold, one) in enumerate(zip(folds, read, strict=True)):
        path = out_dir / f"fold-{number}" / "model.onnx"
        export(Served([one], 1.0, 0.0), path)
        scorer = Scorer(path)
        for shift in CHOOSING_SHIFTS:
            scores, maps = scorer.both(fold.unseen, shift)
            logits[shift].append(raw_logits(scores))
            if shift == "as delivered":
                worst.append(maps.max(axis=(1, 2)))
    by_shift = {shift: np.concatenate(parts) for shift, parts in logits.items()}
    truth = np.concatenate([fold.truth for fold in folds])
    judged = {picture.path for picture in division.validation}
    here = np.array([picture.path in judged for fold in folds for picture in fold.unseen])
    plain = by_shift["as delivered"]
    found = {f"unseen auroc, {shift}": rank_auroc(truth, said) for shift, said in by_shift.items()}
    found["unseen auroc, validation part"] = rank_auroc(truth[here], plain[here])
    found["unseen auroc, most suspicious place"] = rank_auroc(truth, np.concatenate(worst))
    return choose(truth, by_shift), found
