"""Trains `otoscope_screening` from scratch and exports it to ONNX; the loop and the network are shared, torch too."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from triton_models._otoscopy import charts, report
from triton_models._otoscopy.collection import KINDS, Picture, divide
from triton_models._otoscopy.learning import learn, rehearse
from triton_models._otoscopy.network import Ensemble, export
from triton_models._otoscopy.recipe import Recipe
from triton_models._otoscopy.scoring import CHOOSING_SHIFTS, Scorer
from triton_models._otoscopy.shifts import SHIFTS
from triton_models._vision.served import Served
from triton_models._vision.state import Progress
from triton_models.figures import rank_auroc
from triton_models.otoscope_screening.card import CARD
from triton_models.otoscope_screening.measure import choose, draw, is_abnormal, measure
from triton_models.trained import TrainedModel

SEED = 20261128
RECIPE = Recipe(kinds=KINDS, answers=len(KINDS))
QUICK = replace(RECIPE, width=8, epochs=1, steps=4, average=0.5, few=3, shifts=CHOOSING_SHIFTS[:2])
SMOOTHING = 0.05
RECALL_WEIGHT = 1.5
"""What a missed abnormal photograph costs, against one false alarm."""
CONDITION_WEIGHT = 0.5


def loss_of(logits: Tensor, target: Tensor) -> Tensor:
    """Cross entropy on abnormal (logit 0), where a miss costs more, plus a share for telling the conditions apart."""
    abnormal = (1 - target[:, 0]) * (1 - SMOOTHING) + SMOOTHING / 2
    weight = torch.tensor(RECALL_WEIGHT, device=logits.device)
    main = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], abnormal, pos_weight=weight)
    conditions = -(target[:, 1:] * logits[:, 1:].log_softmax(dim=1)).sum(dim=1).mean()
    return main + CONDITION_WEIGHT * conditions


def judge(pictures: Sequence[Picture], logits: npt.NDArray[np.float64]) -> float:
    """AUROC of abnormal against normal."""
    return rank_auroc(is_abnormal(pictures), logits[:, 0])


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

    `quick` takes few ears, a thin network and one epoch; a full run rehearses that way first. A killed run with the
    same recipe, seed and data goes on from its last epoch. Raises `UserError` where the data is missing, contaminated
    or too small and where the loss is lost.
    """
    say: Progress = progress or (lambda line: None)
    recipe = QUICK if quick else RECIPE
    out_dir.mkdir(parents=True, exist_ok=True)
    if not quick:
        rehearse(train, data_dir, out_dir, say)
    division = divide(data_dir, recipe.few)
    say(f"photographs: {len(division.pooled())} to train on and choose by, {len(division.test)} held back")
    learned = learn(division, recipe, loss_of, judge, out_dir, seed=seed, init=init, say=say)
    unseen = {name: logits[:, 0] for name, logits in learned.unseen.items()}
    choice = choose(is_abnormal(division.pooled()), unseen)
    onnx = out_dir / "model.onnx"
    export(Served(Ensemble(learned.members), choice.temperature, choice.bias), recipe.side, len(CARD.labels), onnx)
    say(f"measuring on {len(division.test)} photographs of ears held back")
    scorer = Scorer(onnx)
    by_shift = {shift: scorer(division.test, shift)[:, 1] for shift in (recipe.shifts if quick else SHIFTS)}
    found, metrics = measure(division.test, by_shift, choice)
    draw(out_dir, division.test, by_shift, choice)
    charts.learning_curves(out_dir / "learning_curves.png", learned.history, "AUROC")
    losses = {"smoothing": SMOOTHING, "recall_weight": RECALL_WEIGHT, "condition_weight": CONDITION_WEIGHT}
    return report.write(
        CARD, onnx, division, found, metrics, learned.history, asdict(recipe) | losses, seed=seed, quick=quick
    )
