"""What a finished run is worth: threshold, band, figures, metadata.json, history.json; drawing is in `charts`."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from triton_models import figures
from triton_models.figures import Figure
from triton_models.icu_mortality import charts
from triton_models.icu_mortality.card import CARD
from triton_models.icu_mortality.judge import calibration_error
from triton_models.icu_mortality.table import Divided
from triton_models.trained import TrainedModel

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]
Judged = tuple[Scores, Labels]

ACCURACY_FLOOR = 0.70
AUROC_FLOOR = 0.75
AUROC_TARGET = 0.82
GAP_LIMIT = 0.10
CAPACITY_FLOOR = 0.65
ABSTAIN_SHARE = 0.10
RECALL = 0.80
NEAREST = 1e-7  # a float32 risk may be 0 or 1; its logit must stay a number


@dataclass(frozen=True, slots=True)
class Run:
    """Everything of a run that its report needs: a history and a best epoch a network, risks and outcomes by part."""

    weights: Path
    data: Divided
    recipe: dict[str, Any]
    seed: int
    quick: bool
    histories: list[list[dict[str, float]]]
    best_epochs: list[int]
    calibration: tuple[float, float]
    judged: Mapping[str, Judged]
    dependencies: Mapping[str, str]
    seconds: float


def write(out_dir: Path, run: Run) -> TrainedModel:
    """Writes metadata.json, history.json and the charts of `run` to `out_dir`."""
    threshold = choose_threshold(*run.judged["validation"])
    low, high = abstention_band(run.judged["validation"][0], threshold)
    found = measure(run, threshold)
    trained = TrainedModel(
        name=CARD.name,
        version=CARD.version,
        onnx=run.weights,
        seed=run.seed,
        quick=run.quick,
        metrics={
            "threshold": threshold,
            "abstention_low": low,
            "abstention_high": high,
            "calibration_slope": run.calibration[0],
            "calibration_offset": run.calibration[1],
            "calibration_error": round(calibration_error(*run.judged["test"]), 4),
            "best_epoch": float(np.mean(run.best_epochs)),
            "epochs": float(max(len(history) for history in run.histories)),
            "refused_rows": float(run.data.refused),
            "corrected_rows": float(run.data.corrected),
            "withheld_corrections": float(run.data.withheld),
            "seconds": round(run.seconds, 1),
        },
        figures=found,
        split_sizes=_sizes(run.data.died),
        recipe=run.recipe,
        hardware={"machine": platform.machine(), "system": platform.platform(), "python": platform.python_version()},
        dependencies=dict(run.dependencies) | {"numpy": np.__version__},
        data_hash=run.data.digest,
        missed=advice(found, run.recipe),
    )
    trained.write_metadata(out_dir / "metadata.json")
    (out_dir / "history.json").write_text(json.dumps(run.histories, indent=1) + "\n", encoding="utf-8")
    charts.write(out_dir, run.histories, *run.judged["test"], threshold)
    return trained


def choose_threshold(scores: Scores, died: Labels) -> float:
    """The largest threshold that finds four of five deaths of the validation stays; rounded down to four digits."""
    return float(np.floor(figures.threshold_for(died, scores, RECALL) * 1e4) / 1e4)


def abstention_band(scores: Scores, threshold: float) -> tuple[float, float]:
    """The scores around `threshold`, equally far in logits, that hold the nearest tenth of the validation stays."""
    held = np.clip(scores, NEAREST, 1 - NEAREST)
    logits = np.log(held) - np.log1p(-held)
    centre = np.log(threshold) - np.log1p(-threshold)
    half = np.quantile(np.abs(logits - centre), ABSTAIN_SHARE)
    low, high = 1.0 / (1.0 + np.exp(-(centre + np.array([-half, half]))))
    return round(float(low), 4), round(float(high), 4)


def measure(run: Run, threshold: float) -> dict[str, Figure]:
    """Figures with 95 % intervals of each part at `threshold`, named `<part>_<figure>`."""
    found: dict[str, Figure] = {}
    for part, (scores, died) in run.judged.items():
        found[f"{part}_auroc"] = figures.auroc(died, scores)
        found[f"{part}_accuracy"] = figures.proportion((scores >= threshold) == died)
        found[f"{part}_sensitivity"] = figures.sensitivity(died, scores, threshold)
        found[f"{part}_specificity"] = figures.specificity(died, scores, threshold)
    return found


def advice(found: Mapping[str, Figure], recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """One sentence for each criterion that was missed, with the next thing to try."""
    accuracy, fitted = found["validation_accuracy"][0], found["train_accuracy"][0]
    missed = []
    if accuracy < CAPACITY_FLOOR:
        missed.append(f"validation accuracy {accuracy:.3f} is below 0.65: try more capacity, layers 256-128-64-32")
    elif accuracy < ACCURACY_FLOOR:
        missed.append(
            f"validation accuracy {accuracy:.3f} is below 0.70: try a learning rate of {recipe['rate'] / 2:g}"
        )
    if fitted - accuracy > GAP_LIMIT:
        missed.append(
            f"training accuracy is {fitted - accuracy:.3f} above validation: try less capacity, layers 64-32-16, or "
            "dropout 0.5"
        )
    for part in ("validation", "test"):
        value = found[f"{part}_auroc"][0]
        if value < AUROC_FLOOR:
            missed.append(f"{part} AUROC {value:.3f} is below 0.75: look at the labels and units before the recipe")
        elif value < AUROC_TARGET:
            missed.append(f"{part} AUROC {value:.3f} is below the target 0.82: try another learning rate or more rows")
    return tuple(missed)


def _sizes(died: Mapping[str, Labels]) -> dict[str, int]:
    sizes = {}
    for part, labels in died.items():
        sizes[f"{part} survived"], sizes[f"{part} died"] = int((~labels).sum()), int(labels.sum())
    return sizes
