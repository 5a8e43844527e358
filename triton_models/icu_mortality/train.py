"""Trains `icu_mortality` (networks of 62 features, 128-64-32) and writes the graph that is served.

Recipe, table, scaling, teacher, network, ensemble, calibration, graph and report are files of their own.
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import sklearn
import torch
from torch import Tensor

from schemas.errors import UserError
from triton_models.icu_mortality import ensemble, graph, report, table
from triton_models.icu_mortality import recipe as recipes
from triton_models.icu_mortality.ensemble import SEED, Ensemble
from triton_models.icu_mortality.judge import probabilities
from triton_models.icu_mortality.network import Fitted, Progress, build
from triton_models.icu_mortality.recipe import Recipe
from triton_models.icu_mortality.report import Judged
from triton_models.icu_mortality.table import Divided
from triton_models.trained import TrainedModel

State = dict[str, Tensor]


def train(
    data_dir: Path,
    out_dir: Path,
    *,
    quick: bool = False,
    seed: int = SEED,
    init: Path | None = None,
    progress: Progress | None = None,
    recipe: Recipe | None = None,
) -> TrainedModel:
    """Trains on the table or folder `data_dir` and writes weights, metadata, history and charts to `out_dir`.

    What a folder may hold is said in `table`; a `recipe.json` in it changes the usual recipe, and `recipe` replaces
    both. `quick` is a rehearsal of three epochs. `init` is the `weights.npz` of an earlier run to start from.
    Everything is chosen on training and validation rows (`ensemble`); the test rows are looked at once, at the end.
    Raises UserError for rows that cannot be trained on and for a run that breaks down, with its cause and what to try.
    """
    started = time.monotonic()
    torch.set_num_threads(1)
    chosen = recipe or recipes.read(data_dir)
    chosen = chosen.rehearsal() if quick else chosen
    data = table.thin(table.divide(data_dir), chosen.share)
    fitted = ensemble.fit(data.rows, data.died, chosen, seed, starts=_starts(init, chosen), progress=progress)
    out_dir.mkdir(parents=True, exist_ok=True)
    weights = out_dir / "icu_mortality.onnx"
    graph.write(weights, fitted.scaling, [member.layers() for member in fitted.members], fitted.calibration)
    _save(out_dir / "weights.npz", fitted.members)
    return report.write(
        out_dir,
        report.Run(
            weights=weights,
            data=data,
            recipe=asdict(chosen),
            seed=seed,
            quick=quick,
            histories=[member.history for member in fitted.members],
            best_epochs=[member.best_epoch for member in fitted.members],
            calibration=fitted.calibration,
            judged=_judged(weights, data, fitted, chosen),
            dependencies={"torch": torch.__version__, "onnx": onnx.__version__, "scikit-learn": sklearn.__version__},
            seconds=time.monotonic() - started,
        ),
    )


def _judged(weights: Path, data: Divided, fitted: Ensemble, recipe: Recipe) -> dict[str, Judged]:
    """Risks and outcomes by part: by the file that is served, but validation by networks that did not learn from it.

    With folds all development stays are train, by the served file, and again validation, each by the networks that
    its fold stopped.
    """
    judged = {name: (probabilities(weights, rows), data.died[name]) for name, rows in data.rows.items()}
    if recipe.folds:
        known = [judged[name] for name in ("train", "validation")]
        judged["train"] = np.concatenate([risks for risks, _ in known]), np.concatenate([died for _, died in known])
        judged["validation"] = fitted.unseen_risks, fitted.unseen_died
    return judged


def _starts(init: Path | None, recipe: Recipe) -> list[State | None]:
    """What each network begins with: those of the `weights.npz` of an earlier run in turn; its layers must fit."""
    if init is None:
        return [None] * recipe.networks
    try:
        with np.load(init) as saved:
            states: dict[str, dict[str, Any]] = {}
            for name in saved.files:
                member, _, key = name.partition("/")
                states.setdefault(member, {})[key] = torch.from_numpy(saved[name])
        for state in states.values():
            build(state["0.weight"].shape[1], recipe).load_state_dict(state)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{init} is not the weights.npz of a run with layers {recipe.sizes}: {error}") from None
    found = list(states.values())
    return [found[place % len(found)] for place in range(recipe.networks)]


def _save(path: Path, members: list[Fitted]) -> None:
    arrays = {
        f"{place}/{name}": value.numpy()
        for place, member in enumerate(members)
        for name, value in member.network.state_dict().items()
    }
    np.savez(path, **arrays)
