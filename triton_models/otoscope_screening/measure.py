"""Decides the operating point of `otoscope_screening` on unseen folds and measures it on what was held back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from triton_models import figures
from triton_models._otoscopy import charts
from triton_models._otoscopy.collection import NORMAL, PATHOLOGIES, Picture
from triton_models.calibration import calibration_error, platt

Floats = npt.NDArray[np.float64]
RECALL = 0.99
"""Share of abnormal photographs of unseen folds, over all choosing shifts together, that must reach the threshold."""
MISSED_BELOW = 0.005
ALARMED_ABOVE = 0.95


@dataclass(frozen=True, slots=True)
class OperatingChoice:
    """What unseen folds alone decided: served probability = sigmoid(logit / temperature + bias), threshold, band."""

    temperature: float
    bias: float
    threshold: float
    band: tuple[float, float]


def is_abnormal(pictures: Sequence[Picture]) -> npt.NDArray[np.bool_]:
    """Whether each photograph shows one of the trained conditions."""
    return np.array([picture.kind != NORMAL for picture in pictures], dtype=np.bool_)


def choose(truth: npt.NDArray[np.bool_], by_shift: Mapping[str, Floats]) -> OperatingChoice:
    """Calibration, threshold and band from logits of `abnormal` on unseen folds under each shift."""
    logits = np.concatenate(list(by_shift.values()))
    repeated = np.tile(truth, len(by_shift))
    temperature, bias = platt(logits, repeated)
    pooled = 1 / (1 + np.exp(-(logits / temperature + bias)))
    plain = 1 / (1 + np.exp(-(by_shift["as delivered"] / temperature + bias)))
    reached = min(figures.threshold_for(repeated, pooled, RECALL), figures.threshold_for(truth, plain, RECALL))
    threshold = float(np.floor(reached * 1e4) / 1e4)
    low = float(np.quantile(pooled[repeated], MISSED_BELOW))
    high = float(np.quantile(pooled[~repeated], ALARMED_ABOVE))
    return OperatingChoice(
        temperature, bias, threshold, (round(min(low, threshold), 4), round(max(high, threshold), 4))
    )


def measure(
    pictures: Sequence[Picture], by_shift: Mapping[str, Floats], choice: OperatingChoice
) -> tuple[dict[str, figures.Figure], dict[str, float]]:
    """Figures with intervals over groups, under each shift and for each condition, and plain numbers to track."""
    truth, groups = is_abnormal(pictures), [picture.group for picture in pictures]
    found: dict[str, figures.Figure] = {}
    for name, scores in by_shift.items():
        found[f"auroc, {name}"] = figures.auroc(truth, scores, groups)
        found[f"sensitivity, {name}"] = figures.sensitivity(truth, scores, choice.threshold, groups)
        found[f"specificity, {name}"] = figures.specificity(truth, scores, choice.threshold, groups)
    plain = by_shift["as delivered"]
    for kind in PATHOLOGIES:
        rows = np.array([picture.kind == kind for picture in pictures])
        chosen = [group for group, row in zip(groups, rows, strict=True) if row]
        found[f"sensitivity, {kind}"] = figures.proportion(plain[rows] >= choice.threshold, chosen)
    said = plain >= choice.threshold
    found["balanced accuracy"] = figures.balanced_accuracy(truth, said, 2, groups)
    inside = (plain >= choice.band[0]) & (plain <= choice.band[1])
    if not inside.all():
        outside = [group for group, one in zip(groups, ~inside, strict=True) if one]
        found["accuracy outside the band"] = figures.proportion((said == truth)[~inside], outside)
    return found, {
        "auroc": figures.rank_auroc(truth, plain),
        "auroc of the worst shift": min(figures.rank_auroc(truth, scores) for scores in by_shift.values()),
        "sensitivity": found["sensitivity, as delivered"][0],
        "threshold": choice.threshold,
        "band low": choice.band[0],
        "band high": choice.band[1],
        "temperature": choice.temperature,
        "bias": choice.bias,
        "accuracy": float((said == truth).mean()),
        "abstained share": float(inside.mean()),
        "calibration error": calibration_error(truth, plain),
    }


def draw(folder: Path, pictures: Sequence[Picture], by_shift: Mapping[str, Floats], choice: OperatingChoice) -> None:
    """ROC, confusion matrix and scores of the photographs that were held back."""
    truth, plain = is_abnormal(pictures), by_shift["as delivered"]
    charts.roc(folder / "roc.png", "ROC, held-back ears", {name: (truth, shown) for name, shown in by_shift.items()})
    counts = figures.confusion(truth, plain >= choice.threshold, 2)
    charts.confusion(
        folder / "confusion.png", f"Held-back ears, threshold {choice.threshold:.3f}", ["none", "abnormal"], counts
    )
    shown = {kind: plain[[picture.kind == kind for picture in pictures]] for kind in (NORMAL, *PATHOLOGIES)}
    charts.scores(folder / "scores.png", "Scores of held-back ears", shown, choice.band, choice.threshold)
