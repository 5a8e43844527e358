"""Measures an exported `chest_xray` ONNX as it is served: calibration, operating point, figures; no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from triton_models import figures
from triton_models.calibration import platt
from triton_models.chest_xray.collection import Picture, greys
from triton_models.chest_xray.preprocess import prepare
from triton_models.chest_xray.shifts import SHIFTS

Floats = npt.NDArray[np.float64]
RECALL = 0.98
"""99 % was tried: it costs 10 points of specificity on validation, 34 on cropped views and 37 on adult normals."""
MARGIN_RECALL = 0.95
MISSED_BELOW = 0.005
"""Share of validation pneumonia below the abstention band: what an answer of `normal` outside it may miss."""
ALARMED_ABOVE = 0.97
"""Share of validation normals below the upper end of the band: an answer of `pneumonia` above it alarms the rest."""
CHOOSING_SHIFTS = (
    "as delivered",
    "equalised",
    "stretched",
    "edge enhanced",
    "dark",
    "hard window",
    "noise",
    "half resolution",
)
"""Shifts of validation images that choose checkpoint (the first four), calibration and threshold (all)."""


class Scorer:
    """Runs one ONNX file on pictures through the model's own preprocessing."""

    def __init__(self, onnx: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])

    def __call__(self, pictures: Sequence[Picture], shift: str = "as delivered") -> Floats:
        """Probability of pneumonia for each picture after the named shift has changed its display greys."""
        found = [
            self._session.run(None, {"pixels": prepared(pictures[start : start + 16], shift)})[0][:, 1]
            for start in range(0, len(pictures), 16)
        ]
        return np.concatenate(found).astype(np.float64) if found else np.empty(0)


def prepared(pictures: Sequence[Picture], shift: str) -> npt.NDArray[np.uint8]:
    """uint8 [n, 1, side, side] of the pictures after the named shift, as a consumer would prepare them."""
    return np.stack([prepare(SHIFTS[shift](grey)) for grey in greys(pictures)])


@dataclass(frozen=True, slots=True)
class OperatingChoice:
    """What validation alone decided: served probability = sigmoid(logit / temperature + bias), threshold, band."""

    temperature: float
    bias: float
    threshold: float
    band: tuple[float, float]


def calibrate(truth: npt.NDArray[np.bool_], by_shift: Mapping[str, Floats]) -> OperatingChoice:
    """Calibration, threshold and abstention band from validation logits under each shift."""
    together, repeated = np.concatenate(list(by_shift.values())), np.tile(truth, len(by_shift))
    temperature, bias = platt(together, repeated)
    scores = {name: 1 / (1 + np.exp(-(logits / temperature + bias))) for name, logits in by_shift.items()}
    threshold = np.floor(operating_threshold(truth, scores) * 1e4) / 1e4
    pooled = np.concatenate(list(scores.values()))
    low = float(np.quantile(pooled[repeated], MISSED_BELOW))
    high = float(np.quantile(pooled[~repeated], ALARMED_ABOVE))
    band = (round(min(low, threshold), 4), round(max(high, threshold), 4))
    return OperatingChoice(temperature, bias, float(threshold), band)


def operating_threshold(truth: npt.NDArray[np.bool_], by_shift: Mapping[str, Floats]) -> float:
    """The threshold, from validation only: recall 98 % as delivered and on all shifts together, 95 % on each alone."""
    together = np.concatenate(list(by_shift.values()))
    repeated = np.tile(truth, len(by_shift))
    pooled = figures.threshold_for(repeated, together, RECALL)
    plain = figures.threshold_for(truth, by_shift["as delivered"], RECALL)
    each = min(figures.threshold_for(truth, scores, MARGIN_RECALL) for scores in by_shift.values())
    return min(pooled, plain, each)


def measure(
    scorer: Scorer, pictures: Sequence[Picture], groups: Sequence[str], threshold: float, shifts: Sequence[str]
) -> tuple[dict[str, figures.Figure], dict[str, Floats]]:
    """Figures of a labelled part under each named shift, and the scores behind them."""
    truth = np.array([picture.pneumonia for picture in pictures])
    found: dict[str, figures.Figure] = {}
    kept: dict[str, Floats] = {}
    for name in shifts:
        scores = kept[name] = scorer(pictures, name)
        found[f"auroc, {name}"] = figures.auroc(truth, scores, groups)
        found[f"sensitivity, {name}"] = figures.sensitivity(truth, scores, threshold, groups)
        found[f"specificity, {name}"] = figures.specificity(truth, scores, threshold, groups)
    plain = kept["as delivered"]
    for subtype in ("bacteria", "virus"):
        rows = np.array([picture.subtype == subtype for picture in pictures])
        chosen = [group for group, row in zip(groups, rows, strict=True) if row]
        if not chosen:
            continue
        found[f"sensitivity, {subtype}"] = figures.proportion(plain[rows] >= threshold, chosen)
    return found, kept
