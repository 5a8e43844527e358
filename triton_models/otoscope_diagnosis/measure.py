"""Decides calibration and abstention of `otoscope_diagnosis` on unseen folds and measures what was held back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from triton_models import figures
from triton_models._otoscopy import charts
from triton_models._otoscopy.collection import PATHOLOGIES, Picture
from triton_models.calibration import calibration_error, softmax_temperature

Floats = npt.NDArray[np.float64]
Kinds = npt.NDArray[np.int64]
RIGHT_OUTSIDE = 0.97
"""Share of answers outside the band that must be right on unseen folds, over all choosing shifts together."""
MOST_ABSTAINED = 0.25


@dataclass(frozen=True, slots=True)
class Choice:
    """What unseen folds alone decided: served probabilities = softmax(logits / temperature), and the band."""

    temperature: float
    band: tuple[float, float]


def kinds_of(pictures: Sequence[Picture]) -> Kinds:
    """The number of each photograph's condition in the order of the labels."""
    return np.array([PATHOLOGIES.index(picture.kind) for picture in pictures], dtype=np.int64)


def choose(truth: Kinds, by_shift: Mapping[str, Floats]) -> Choice:
    """Temperature and band from logits [n, labels] on unseen folds under each shift.

    The band ends at the smallest probability of the likeliest label above which 97 % are right, but never abstains
    from more than a quarter.
    """
    logits = np.concatenate(list(by_shift.values()))
    repeated = np.tile(truth, len(by_shift))
    temperature = softmax_temperature(logits, repeated)
    rows = np.exp((logits - logits.max(axis=1, keepdims=True)) / temperature)
    rows /= rows.sum(axis=1, keepdims=True)
    best, right = rows.max(axis=1), rows.argmax(axis=1) == repeated
    limit = float(np.quantile(best, MOST_ABSTAINED))
    steps = np.arange(0.34, limit, 0.005)
    enough = [float(step) for step in steps if right[best > step].mean() >= RIGHT_OUTSIDE]
    return Choice(temperature, (0.0, round(enough[0] if enough else limit, 4)))


def measure(
    pictures: Sequence[Picture], by_shift: Mapping[str, Floats], choice: Choice
) -> tuple[dict[str, figures.Figure], dict[str, float]]:
    """Figures with intervals over groups, under each shift and for each condition, and plain numbers to track."""
    truth, groups = kinds_of(pictures), [picture.group for picture in pictures]
    found = {
        f"balanced accuracy, {name}": figures.balanced_accuracy(truth, rows.argmax(axis=1), len(PATHOLOGIES), groups)
        for name, rows in by_shift.items()
    }
    plain = by_shift["as delivered"]
    right, best = plain.argmax(axis=1) == truth, plain.max(axis=1)
    for number, kind in enumerate(PATHOLOGIES):
        chosen = [group for group, one in zip(groups, truth, strict=True) if one == number]
        found[f"recognised, {kind}"] = figures.proportion(right[truth == number], chosen)
        found[f"auroc, {kind}"] = figures.auroc(truth == number, plain[:, number], groups)
    outside = best > choice.band[1]
    if outside.any():
        kept = [group for group, one in zip(groups, outside, strict=True) if one]
        found["accuracy outside the band"] = figures.proportion(right[outside], kept)
    return found, {
        "balanced_accuracy": found["balanced accuracy, as delivered"][0],
        "balanced accuracy of the worst shift": min(
            found[name][0] for name in found if name.startswith("balanced accuracy, ")
        ),
        "accuracy": float(right.mean()),
        "band high": choice.band[1],
        "temperature": choice.temperature,
        "abstained share": float((~outside).mean()),
        "calibration error": calibration_error(right, best),
    }


def draw(folder: Path, pictures: Sequence[Picture], by_shift: Mapping[str, Floats], choice: Choice) -> None:
    """ROC of each condition, confusion matrix and likeliest probabilities of the photographs that were held back."""
    truth, plain = kinds_of(pictures), by_shift["as delivered"]
    curves = {kind: (truth == number, plain[:, number]) for number, kind in enumerate(PATHOLOGIES)}
    charts.roc(folder / "roc.png", "ROC of each condition, held-back ears", curves)
    counts = figures.confusion(truth, plain.argmax(axis=1), len(PATHOLOGIES))
    charts.confusion(folder / "confusion.png", "Held-back ears", PATHOLOGIES, counts)
    right, best = plain.argmax(axis=1) == truth, plain.max(axis=1)
    shown = {"right": best[right], "wrong": best[~right]}
    charts.scores(folder / "scores.png", "Likeliest label's probability, held-back ears", shown, choice.band)
