"""What weights of this model are worth on frozen stays, by running the file that would be served; no training."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from schemas.card import ModelCard
from triton_models import figures
from triton_models.figures import Figure
from triton_models.icu_mortality import table

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]
RESAMPLES, SEED = 1000, 62
TENTHS = 10


def judge(weights: Path, holdout: Path, card: ModelCard) -> Mapping[str, Figure]:
    """Figures (value, low, high) by name of the ONNX file `weights` on `holdout`, a table or a folder with one.

    `auroc` needs no threshold; `sensitivity`, `specificity` and `accuracy` are at the card's; `calibration_error` is
    the mean distance of predicted risk and share of deaths. Raises UserError where there is no hold-out.
    """
    found = table.read(table.holdout(holdout))
    scores, died = probabilities(weights, found.rows), found.positive
    return {
        "auroc": figures.auroc(died, scores),
        "sensitivity": figures.sensitivity(died, scores, card.threshold),
        "specificity": figures.specificity(died, scores, card.threshold),
        "accuracy": figures.proportion((scores >= card.threshold) == died),
        "calibration_error": calibration_figure(scores, died),
    }


def probabilities(weights: Path, rows: npt.NDArray[np.float32]) -> Scores:
    """Probability of death of each row [rows, 62] by the ONNX file `weights`."""
    session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
    found: Scores = session.run(["probability"], {"features": rows})[0][:, 1].astype(np.float64)
    return found


def calibration_error(scores: Scores, died: Labels) -> float:
    """Mean distance of predicted risk and share of deaths over tenths of the stays, weighted by their size."""
    parts = np.array_split(np.argsort(scores, kind="stable"), TENTHS)
    gaps = [len(part) * abs(float(scores[part].mean()) - float(died[part].mean())) for part in parts if len(part)]
    return sum(gaps) / len(scores)


def calibration_figure(scores: Scores, died: Labels) -> Figure:
    """The calibration error with a bootstrap over stays; chance lifts it, so the interval may lie above the value."""
    rng = np.random.default_rng(SEED)
    drawn = [rng.integers(0, len(died), len(died)) for _ in range(RESAMPLES)]
    low, high = np.quantile([calibration_error(scores[rows], died[rows]) for rows in drawn], [0.025, 0.975])
    return calibration_error(scores, died), float(low), float(high)
