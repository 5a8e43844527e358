"""Turns a finished run of `chest_xray` into figures, metadata and charts on disk; no training, no torch."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from triton_models import figures
from triton_models.calibration import calibration_error
from triton_models.chest_xray import charts
from triton_models.chest_xray.collection import Division
from triton_models.chest_xray.measure import OperatingChoice, Scorer, measure
from triton_models.chest_xray.shifts import SHIFTS
from triton_models.trained import TrainedModel, machine

Floats = npt.NDArray[np.float64]


def write(
    *,
    name: str,
    version: str,
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
    trained = TrainedModel(
        name=name,
        version=version,
        onnx=onnx,
        seed=seed,
        quick=quick,
        metrics=plain_metrics(truth, scores, point) | {"loss": history[-1]["loss"], "epochs": float(len(history))},
        figures=found | {"balanced accuracy": figures.balanced_accuracy(truth, plain >= point.threshold, 2, groups)},
        split_sizes=division.sizes(),
        recipe=recipe,
        hardware=machine(),
        dependencies=dict(versions) | {package: installed(package) for package in ("numpy", "pillow", "onnxruntime")},
        data_hash=division.data_hash,
    )
    trained.write_metadata(onnx.with_name("metadata.json"))
    onnx.with_name("history.json").write_text(json.dumps(list(history), indent=1) + "\n", encoding="utf-8")
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
