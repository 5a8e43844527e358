"""Trains `icu_mortality` (networks of 62 features, 128-64-32) and writes the graph that is served.

Recipe, table, scaling, teacher, network, calibration, graph and report are files of their own.
"""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import sklearn
import torch
from torch import Tensor

from schemas.errors import UserError
from triton_models.icu_mortality import graph, report, scaling, table, teacher
from triton_models.icu_mortality import recipe as recipes
from triton_models.icu_mortality.calibration import calibrate
from triton_models.icu_mortality.judge import probabilities
from triton_models.icu_mortality.network import Fitted, Progress, build, fit
from triton_models.icu_mortality.recipe import Recipe
from triton_models.trained import TrainedModel

SEED = 62
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
    Everything is chosen on training and validation rows; the test rows are looked at once, at the end. Raises UserError
    for rows that cannot be trained on and for a run that breaks down, with its cause and what to try.
    """
    started = time.monotonic()
    torch.set_num_threads(1)
    chosen = recipe or recipes.read(data_dir)
    chosen = chosen.rehearsal() if quick else chosen
    data = table.thin(table.divide(data_dir), chosen.share)
    scaled = scaling.fit(data.rows["train"], chosen.ramps)
    rows = {name: scaled.apply(part) for name, part in data.rows.items()}
    targets = soften(data.died["train"], data.rows["train"], chosen)
    members = []
    for place, start in enumerate(_starts(init, chosen)):
        say = _numbered(progress, place, chosen.members)
        members.append(fit(rows, data.died, chosen, seed + place, targets=targets, start=start, progress=say))
    logits = np.mean([member.logits(rows["validation"]) for member in members], axis=0)
    calibration = calibrate(logits, data.died["validation"])
    out_dir.mkdir(parents=True, exist_ok=True)
    weights = out_dir / "icu_mortality.onnx"
    graph.write(weights, scaled, [member.layers() for member in members], calibration)
    _save(out_dir / "weights.npz", members)
    return report.write(
        out_dir,
        report.Run(
            weights=weights,
            data=data,
            recipe=asdict(chosen),
            seed=seed,
            quick=quick,
            histories=[member.history for member in members],
            best_epochs=[member.best_epoch for member in members],
            calibration=calibration,
            scores={name: probabilities(weights, part) for name, part in data.rows.items()},
            dependencies={"torch": torch.__version__, "onnx": onnx.__version__, "scikit-learn": sklearn.__version__},
            seconds=time.monotonic() - started,
        ),
    )


def soften(died: npt.NDArray[np.bool_], rows: npt.NDArray[np.float32], recipe: Recipe) -> npt.NDArray[np.float32]:
    """The training targets: labels mixed with what the teacher says; only ever given training rows."""
    labels = died.astype(np.float32)
    if not recipe.teacher:
        return labels
    mixed: npt.NDArray[np.float32] = (1 - recipe.teacher) * labels + recipe.teacher * teacher.risks(
        rows, died, SEED, recipe.teachers
    )
    return mixed.astype(np.float32)


def _numbered(progress: Progress | None, place: int, members: int) -> Progress | None:
    """`progress`, told of which network of how many it hears."""
    if progress is None or members == 1:
        return progress
    return lambda line: progress(f"network {place + 1} of {members}, {line}")


def _starts(init: Path | None, recipe: Recipe) -> list[State | None]:
    """What each network begins with: those of the `weights.npz` of an earlier run in turn; its layers must fit."""
    if init is None:
        return [None] * recipe.members
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
    return [found[place % len(found)] for place in range(recipe.members)]


def _save(path: Path, members: list[Fitted]) -> None:
    arrays = {
        f"{place}/{name}": value.numpy()
        for place, member in enumerate(members)
        for name, value in member.network.state_dict().items()
    }
    np.savez(path, **arrays)
