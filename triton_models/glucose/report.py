"""What a finished run is worth: figures of each part beside the baselines, metadata.json, history.json; no drawing."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from triton_models import forecasts
from triton_models.forecasts import Figure
from triton_models.glucose.card import CARD, HORIZONS_MINUTES
from triton_models.glucose.collection import Collection, Windows
from triton_models.linear import Linear
from triton_models.trained import TrainedModel

Rows = npt.NDArray[np.float32]

REPORTED = (30, 60, 120)
PERSISTENCE_LIMIT = 0.85
COVERAGE_LIMIT = 0.02
RANGES = {
    "below_70": (0.0, 70.0),
    "70_to_180": (70.0, 180.0),
    "180_to_250": (180.0, 250.0),
    "above_250": (250.0, 999.0),
}


@dataclass(frozen=True, slots=True)
class Run:
    """Everything of a run that its report needs; `forecasts` [n, horizons, 3] by part, by the file that is served."""

    weights: Path
    data: Collection
    baseline: Linear
    forecasts: Mapping[str, Rows]
    recipe: dict[str, Any]
    seed: int
    quick: bool
    history: list[dict[str, float]]
    stretch: tuple[Rows, Rows]
    dependencies: Mapping[str, str]
    seconds: float


def write(out_dir: Path, run: Run) -> TrainedModel:
    """Writes metadata.json and history.json of `run` to `out_dir`."""
    found: dict[str, Figure] = {}
    for part, said in run.forecasts.items():
        found |= measure(part, run.data.parts[part], said, run.baseline)
    found |= by_study(run)
    low, high = run.stretch
    trained = TrainedModel(
        name=CARD.name,
        version=CARD.version,
        onnx=run.weights,
        seed=run.seed,
        quick=run.quick,
        metrics={
            "epochs": float(len(run.history)),
            "validation_loss": run.history[-1]["val_loss"],
            "people_too_short": float(run.data.too_short),
            "seconds": round(run.seconds, 1),
            **{f"stretch_low_{minutes}": float(low[at]) for at, minutes in enumerate(HORIZONS_MINUTES)},
            **{f"stretch_high_{minutes}": float(high[at]) for at, minutes in enumerate(HORIZONS_MINUTES)},
        },
        figures={name: figure for name, figure in found.items() if np.isfinite(figure).all()},
        split_sizes={
            **{f"{part} windows": len(windows) for part, windows in run.data.parts.items()},
            **{f"{part} people": count for part, count in run.data.people.items()},
        },
        recipe=run.recipe,
        hardware={"machine": platform.machine(), "system": platform.platform(), "python": platform.python_version()},
        dependencies=dict(run.dependencies) | {"numpy": np.__version__},
        data_hash=run.data.data_hash,
        missed=advice(found),
    )
    trained.write_metadata(out_dir / "metadata.json")
    (out_dir / "history.json").write_text(json.dumps(run.history, indent=1) + "\n", encoding="utf-8")
    return trained


def measure(part: str, windows: Windows, said: Rows, baseline: Linear) -> dict[str, Figure]:
    """Figures of one part with intervals by person, named `<part>_<figure>_<minutes>`.

    `skill` is one minus the ratio of RMSE to persistence (the newest reading stays); `coverage` is also given by the
    range that the newest reading is in.
    """
    found: dict[str, Figure] = {}
    newest, straight, people = windows.rows[:, 0], baseline.forecast(windows.rows), windows.person
    for at, minutes in enumerate(HORIZONS_MINUTES):
        truth, (low, middle, high) = windows.truth[:, at], said[:, at].T
        found[f"{part}_rmse_{minutes}"] = forecasts.rmse(truth, middle, people)
        found[f"{part}_mae_{minutes}"] = forecasts.mae(truth, middle, people)
        found[f"{part}_r2_{minutes}"] = forecasts.r2(truth, middle, people)
        found[f"{part}_persistence_rmse_{minutes}"] = forecasts.rmse(truth, newest, people)
        found[f"{part}_linear_rmse_{minutes}"] = forecasts.rmse(truth, straight[:, at], people)
        value, least, most = forecasts.ratio(truth, middle, newest, people)
        found[f"{part}_skill_{minutes}"] = (1 - value, 1 - most, 1 - least)
        found[f"{part}_to_linear_{minutes}"] = forecasts.ratio(truth, middle, straight[:, at], people)
        found[f"{part}_coverage_{minutes}"] = forecasts.coverage(truth, low, high, people)
        found[f"{part}_width_{minutes}"] = forecasts.mae(np.where(np.isnan(truth), np.nan, low), high, people)
    found[f"{part}_coverage"] = over_all(windows, said)
    for name, (least, most) in RANGES.items():
        inside = np.flatnonzero((newest >= least) & (newest < most))
        if len(inside):
            found[f"{part}_coverage_{name}"] = over_all(pick(windows, inside), said[inside])
    return found


def by_study(run: Run) -> dict[str, Figure]:
    """Of the held-back people of each study (two at least): ratios at 30 minutes, and coverage."""
    windows, said = run.data.parts["test"], run.forecasts["test"]
    at = HORIZONS_MINUTES.index(30)
    found: dict[str, Figure] = {}
    for number, name in enumerate(run.data.studies):
        inside = np.flatnonzero(windows.study == number)
        if len(np.unique(windows.person[inside])) < 2:
            continue
        some = pick(windows, inside)
        truth, middle, people = some.truth[:, at], said[inside][:, at, 1], some.person
        straight = run.baseline.forecast(some.rows)[:, at]
        found[f"test_{name}_rmse_30"] = forecasts.rmse(truth, middle, people)
        found[f"test_{name}_to_persistence_30"] = forecasts.ratio(truth, middle, some.rows[:, 0], people)
        found[f"test_{name}_to_linear_30"] = forecasts.ratio(truth, middle, straight, people)
        found[f"test_{name}_coverage"] = over_all(some, said[inside])
    return found


def pick(windows: Windows, places: npt.NDArray[np.int64]) -> Windows:
    """Some of the windows."""
    return Windows(windows.rows[places], windows.truth[places], windows.person[places], windows.study[places])


def over_all(windows: Windows, said: Rows) -> Figure:
    """Coverage over all horizons together."""
    people = np.repeat(windows.person, windows.truth.shape[1])
    return forecasts.coverage(windows.truth.ravel(), said[:, :, 0].ravel(), said[:, :, 2].ravel(), people)


def advice(found: Mapping[str, Figure]) -> tuple[str, ...]:
    """One sentence for each criterion that was missed on held-back people, with the next thing to try."""
    missed = []
    skill, to_linear = found["test_skill_30"][0], found["test_to_linear_30"][0]
    if 1 - skill > PERSISTENCE_LIMIT:
        missed.append(f"RMSE at 30 min is {1 - skill:.3f} of persistence, above 0.85: try more epochs or more people")
    if to_linear > 1:
        missed.append(f"RMSE at 30 min is {to_linear:.3f} of the linear baseline: look at the data before the recipe")
    measured = found["test_coverage"][0]
    if abs(measured - 0.9) > COVERAGE_LIMIT:
        missed.append(f"intervals of 0.9 hold {measured:.3f}: more validation people would calibrate better")
    return tuple(missed)
