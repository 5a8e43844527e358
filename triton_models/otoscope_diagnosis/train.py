"""Trains `otoscope_diagnosis` from scratch and exports it to ONNX; the loop and the network are shared, torch too."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from triton_models._otoscopy import charts, report
from triton_models._otoscopy.collection import PATHOLOGIES, Picture, divide
from triton_models._otoscopy.learning import learn, rehearse
from triton_models._otoscopy.network import Ensemble, export
from triton_models._otoscopy.recipe import Recipe
from triton_models._otoscopy.scoring import CHOOSING_SHIFTS, Scorer
from triton_models._otoscopy.shifts import SHIFTS
from triton_models._vision.state import Progress
from triton_models.figures import confusion
from triton_models.otoscope_diagnosis.card import CARD
from triton_models.otoscope_diagnosis.measure import choose, draw, kinds_of, measure
from triton_models.trained import TrainedModel

SEED = 20261128
RECIPE = Recipe(kinds=PATHOLOGIES, answers=len(PATHOLOGIES))
QUICK = replace(RECIPE, width=8, epochs=1, steps=4, average=0.5, few=3, shifts=CHOOSING_SHIFTS[:2])
SMOOTHING = 0.05
FOCUS = 2.0
"""How much less a photograph counts that is recognised already (the exponent of the focal loss)."""


def loss_of(logits: Tensor, target: Tensor) -> Tensor:
    """Focal loss (Lin 2017) on smoothed targets; the batches are balanced, so no class needs a weight."""
    smooth = target * (1 - SMOOTHING) + SMOOTHING / target.shape[1]
    logs = logits.log_softmax(dim=1)
    loss: Tensor = -(smooth * (1 - logs.exp()) ** FOCUS * logs).sum(dim=1).mean()
    return loss


def judge(pictures: Sequence[Picture], logits: npt.NDArray[np.float64]) -> float:
    """Balanced accuracy, its many ties broken by a hundredth of the mean log probability of the truth."""
    truth = kinds_of(pictures)
    shown = logits - logits.max(axis=1, keepdims=True)
    logs = shown - np.log(np.exp(shown).sum(axis=1, keepdims=True))
    hits = confusion(truth, logits.argmax(axis=1), len(PATHOLOGIES))
    shares = [row[number] / max(1, sum(row)) for number, row in enumerate(hits)]
    return float(np.mean(shares)) + 0.01 * float(logs[np.arange(len(truth)), truth].mean())


class Served(nn.Module):
    """The calibrated networks as served: uint8 [batch, 3, side, side] to [batch, 3] probabilities."""

    def __init__(self, network: Ensemble, temperature: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature

    def forward(self, pixels: Tensor) -> Tensor:
        likely: Tensor = (self.network(pixels) / self.temperature).softmax(dim=1)
        return likely


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

    Pathological photographs only, in the parts of the screening's split. `quick` takes few ears, a thin network and
    one epoch; a full run rehearses that way first. A killed run with the same recipe, seed and data goes on from its
    last epoch. Raises `UserError` where the data is missing, contaminated or too small and where the loss is lost.
    """
    say: Progress = progress or (lambda line: None)
    recipe = QUICK if quick else RECIPE
    out_dir.mkdir(parents=True, exist_ok=True)
    if not quick:
        rehearse(train, data_dir, out_dir, say)
    division = divide(data_dir, recipe.few).only(PATHOLOGIES)
    say(f"photographs: {len(division.pooled())} to train on and choose by, {len(division.test)} held back")
    learned = learn(division, recipe, loss_of, judge, out_dir, seed=seed, init=init, say=say)
    choice = choose(kinds_of(division.pooled()), learned.unseen)
    onnx = out_dir / "model.onnx"
    export(Served(Ensemble(learned.members), choice.temperature), recipe.side, len(CARD.labels), onnx)
    say(f"measuring on {len(division.test)} photographs of ears held back")
    scorer = Scorer(onnx)
    by_shift = {shift: scorer(division.test, shift) for shift in (recipe.shifts if quick else SHIFTS)}
    found, metrics = measure(division.test, by_shift, choice)
    draw(out_dir, division.test, by_shift, choice)
    charts.learning_curves(out_dir / "learning_curves.png", learned.history, "balanced accuracy")
    losses = {"smoothing": SMOOTHING, "focus": FOCUS}
    return report.write(
        CARD, onnx, division, found, metrics, learned.history, asdict(recipe) | losses, seed=seed, quick=quick
    )
