"""Measures an exported `fracture` ONNX as it is served: calibration, operating point, figures; no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from triton_models import figures
from triton_models.calibration import calibration_error, platt
from triton_models.chest_xray.shifts import SHIFTS
from triton_models.fracture.augment import IGNORED, in_pixels, places
from triton_models.fracture.collection import Picture, grey
from triton_models.fracture.framing import COLUMNS, ROWS, find_limb, onto_canvas
from triton_models.fracture.preprocess import prepare

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
RECALL = 0.99
MISSED_BELOW = 0.01
ALARMED_ABOVE = 0.95
CHOOSING_SHIFTS = ("as delivered", "dark", "noise", "JPEG 30")
"""Shifts of validation images that choose calibration, threshold and band."""
SHOWN_SHIFTS = ("as delivered", "dark", "bright", "flat", "noise", "blur", "half resolution", "JPEG 30", "black border")
BATCH = 8


class Scorer:
    """Runs one ONNX file on pictures through the model's own preprocessing."""

    def __init__(self, onnx: Path, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])

    def __call__(self, pictures: Sequence[Picture], shift: str = "as delivered") -> Floats:
        """Probability of a fracture for each picture after the named shift has changed its display greys."""
        return self.both(pictures, shift)[0]

    def both(self, pictures: Sequence[Picture], shift: str = "as delivered") -> tuple[Floats, Floats]:
        """Probabilities [n] and maps of places [n, rows / 8, columns / 8]."""
        scores, maps = [], []
        for start in range(0, len(pictures), BATCH):
            pixels = np.stack([prepare(SHIFTS[shift](grey(one))) for one in pictures[start : start + BATCH]])
            probability, seen = self._session.run(["probability", "places"], {"pixels": pixels})
            scores.append(probability[:, 1])
            maps.append(seen)
        return np.concatenate(scores).astype(np.float64), np.concatenate(maps).astype(np.float64)


@dataclass(frozen=True, slots=True)
class OperatingChoice:
    """What validation alone decided: served probability = sigmoid(logit / temperature + bias), threshold, band."""

    temperature: float
    bias: float
    threshold: float
    band: tuple[float, float]


def choose(truth: Flags, by_shift: Mapping[str, Floats]) -> OperatingChoice:
    """Calibration, threshold (recall of 99 % as delivered and over all shifts) and band from validation logits."""
    together, repeated = np.concatenate(list(by_shift.values())), np.tile(truth, len(by_shift))
    temperature, bias = platt(together, repeated)
    pooled = 1 / (1 + np.exp(-(together / temperature + bias)))
    plain = 1 / (1 + np.exp(-(by_shift["as delivered"] / temperature + bias)))
    reached = min(figures.threshold_for(repeated, pooled, RECALL), figures.threshold_for(truth, plain, RECALL))
    threshold = float(np.floor(reached * 1e4) / 1e4)
    low = float(np.quantile(pooled[repeated], MISSED_BELOW))
    high = float(np.quantile(pooled[~repeated], ALARMED_ABOVE))
    band = (round(min(low, threshold), 4), round(max(high, threshold), 4))
    return OperatingChoice(temperature, bias, threshold, band)


def measure(
    pictures: Sequence[Picture], by_shift: Mapping[str, Floats], maps: Floats, choice: OperatingChoice
) -> tuple[dict[str, figures.Figure], dict[str, float]]:
    """Figures with intervals over groups, under each shift, and plain numbers to track."""
    truth, groups = is_fractured(pictures), [picture.group for picture in pictures]
    found: dict[str, figures.Figure] = {}
    for name, scores in by_shift.items():
        found[f"auroc, {name}"] = figures.auroc(truth, scores, groups)
        found[f"sensitivity, {name}"] = figures.sensitivity(truth, scores, choice.threshold, groups)
        found[f"specificity, {name}"] = figures.specificity(truth, scores, choice.threshold, groups)
    plain = by_shift["as delivered"]
    said = plain >= choice.threshold
    found["balanced accuracy at 0.5"] = figures.balanced_accuracy(truth, plain >= 0.5, 2, groups)
    found["sensitivity at 0.5"] = figures.sensitivity(truth, plain, 0.5, groups)
    found["specificity at 0.5"] = figures.specificity(truth, plain, 0.5, groups)
    pointed = points_at_a_fracture(pictures, maps)
    found["pointed at"] = figures.proportion(pointed, [group for group, ill in zip(groups, truth, strict=True) if ill])
    inside = (plain >= choice.band[0]) & (plain <= choice.band[1])
    if not inside.all():
        outside = [group for group, one in zip(groups, ~inside, strict=True) if one]
        found["accuracy outside the band"] = figures.proportion((said == truth)[~inside], outside)
    return found, {
        "auroc": figures.rank_auroc(truth, plain),
        "auroc of the worst shift": min(figures.rank_auroc(truth, scores) for scores in by_shift.values()),
        "threshold": choice.threshold,
        "band low": choice.band[0],
        "band high": choice.band[1],
        "temperature": choice.temperature,
        "bias": choice.bias,
        "abstained share": float(inside.mean()),
        "calibration error": calibration_error(truth, plain),
    }


def is_fractured(pictures: Sequence[Picture]) -> Flags:
    """The truth of each picture."""
    return np.array([picture.fractured for picture in pictures], dtype=np.bool_)


def points_at_a_fracture(pictures: Sequence[Picture], maps: Floats) -> Flags:
    """For each fractured picture, whether its most suspicious place lies in a box or the ring around one."""
    found = []
    for picture, seen in zip(pictures, maps, strict=True):
        if not picture.fractured:
            continue
        display = grey(picture)
        affine = np.vstack([np.reshape(onto_canvas(find_limb(display)), (2, 3)), [0.0, 0.0, 1.0]])
        truth = places(in_pixels(picture.boxes, display), affine, (ROWS, COLUMNS))
        found.append(truth.ravel()[int(seen.argmax())] in (1.0, IGNORED))
    return np.array(found, dtype=np.bool_)
