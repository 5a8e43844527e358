"""Turns a finished run of `chest_xray` into figures, metadata and charts on disk; no training, no torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.card import ModelCard
from triton_models import figures
from triton_models._vision import record
from triton_models.calibration import calibration_error
from triton_models.chest_xray import charts
from triton_models.chest_xray.collection import Division
from triton_models.chest_xray.measure import OperatingChoice, Scorer, measure
from triton_models.chest_xray.shifts import SHIFTS
from triton_models.trained import TrainedModel

Floats = npt.NDArray[np.float64]


def write(
    *,
    card: ModelCard,
    onnx: Path,
    division: Division,
    point: OperatingChoice,
    history: Sequence[Mapping[str, float]],
    recipe: Mapping[str, Any],
    versions: Mapping[str, str],
    seed: int,
    quick: bool,
) -> TrainedModel:
    """Measures the exported ONNX on the held-back part, writes metadata, history and charts beside it."""
    groups = [picture.group for picture in division.test]
    truth = np.array([picture.pneumonia for picture in division.test])
    shifts = ["as delivered"] if quick else list(SHIFTS)
    found, scores = measure(Scorer(onnx, threads=2), division.test, groups, point.threshold, shifts)
    plain = scores["as delivered"]
    found["balanced accuracy"] = figures.balanced_accuracy(truth, plain >= point.threshold, 2, groups)
    metrics = plain_metrics(truth, scores, point)
    trained = record.write(
        card, onnx, division, found, metrics, history, recipe, seed=seed, quick=quick, versions=versions
    )
    charts.draw(onnx.parent, history, truth, scores, point.threshold, point.band)
    return trained


def plain_metrics(
    truth: npt.NDArray[np.bool_], by_shift: Mapping[str, Floats], point: OperatingChoice
) -> dict[str, float]:
    """Single numbers to track: the operating point, the worst shift, calibration, and what abstaining changes."""
    plain = by_shift["as delivered"]
    inside = (plain >= point.band[0]) & (plain <= point.band[1])
    right = (plain >= point.threshold) == truth
    return {
        "auroc": figures.rank_auroc(truth, plain),
        "auroc of the worst shift": min(figures.rank_auroc(truth, scores) for scores in by_shift.values()),
        "threshold": point.threshold,
        "band low": point.band[0],
        "band high": point.band[1],
        "temperature": point.temperature,
        "bias": point.bias,
        "accuracy": float(right.mean()),
        "abstained share": float(inside.mean()),
        "accuracy outside the band": float(right[~inside].mean()) if not inside.all() else float("nan"),
        "calibration error": calibration_error(truth, plain),
    }
