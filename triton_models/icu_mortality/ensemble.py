"""The networks that are served together: which stays train, stop and calibrate them; torch, but no files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from triton_models.icu_mortality import network, scaling, teacher
from triton_models.icu_mortality.calibration import calibrate
from triton_models.icu_mortality.network import Fitted, Progress
from triton_models.icu_mortality.recipe import Recipe
from triton_models.icu_mortality.scaling import Scaling

SEED = 62
"""Of the folds and the teacher: they are the same whatever seed the networks begin with."""

Rows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Ensemble:
    """Networks whose mean logit is served, and the stays that calibrated them.

    `unseen` is the uncalibrated logit of each stay of `unseen_died` by networks that did not learn from it; calibration
    (slope, offset) is fitted on it, and threshold and band are chosen on the risks that follow.
    """

    scaling: Scaling
    members: list[Fitted]
    unseen: Floats
    unseen_died: Labels
    calibration: tuple[float, float] = field(init=False)

    def __post_init__(self) -> None:
        self.calibration = calibrate(self.unseen, self.unseen_died)

    @property
    def unseen_risks(self) -> Floats:
        """The calibrated risk of each stay that calibrated."""
        return self._risk(self.unseen)

    def risks(self, rows: Rows) -> Floats:
        """Calibrated risk of rows [rows, 62] (NaN: missing): what the graph computes."""
        return self._risk(_mean(self.members, self.scaling.apply(rows)))

    def _risk(self, logits: Floats) -> Floats:
        slope, offset = self.calibration
        risk: Floats = 1.0 / (1.0 + np.exp(-(slope * logits + offset)))
        return risk


def fit(
    rows: Mapping[str, Rows],
    died: Mapping[str, Labels],
    recipe: Recipe,
    seed: int,
    *,
    starts: Sequence[dict[str, Tensor] | None] = (),
    progress: Progress | None = None,
) -> Ensemble:
    """The networks of `recipe` from the parts train and validation of rows [rows, 62]; no other part is looked at.

    Without folds the training rows train and the validation rows stop and calibrate. With folds both are one: each fold
    stops the networks that learn from the others, and gives calibration its risks by those networks. `starts` are what
    each network begins with.
    """
    shared = _crossfitted if recipe.folds else _fixed
    return shared(rows, died, recipe, seed, starts or [None] * recipe.networks, progress)


def soften(died: Labels, risks: Rows, recipe: Recipe) -> Rows:
    """Training targets: labels mixed with the risk that the teacher gives."""
    mixed = (1 - recipe.teacher) * died.astype(np.float32) + recipe.teacher * risks
    return mixed.astype(np.float32)


def _fixed(
    rows: Mapping[str, Rows],
    died: Mapping[str, Labels],
    recipe: Recipe,
    seed: int,
    starts: Sequence[dict[str, Tensor] | None],
    progress: Progress | None,
) -> Ensemble:
    scaled = scaling.fit(rows["train"], recipe.ramps)
    parts = {name: scaled.apply(rows[name]) for name in ("train", "validation")}
    targets = None
    if recipe.teacher:
        risks = teacher.risks(rows["train"], died["train"], SEED, recipe.teachers)
        targets = soften(died["train"], risks, recipe)
    members = []
    for place, start in enumerate(starts):
        say = _numbered(progress, place, recipe)
        members.append(network.fit(parts, died, recipe, seed + place, targets=targets, start=start, progress=say))
    return Ensemble(scaled, members, _mean(members, parts["validation"]), died["validation"])


def _crossfitted(
    rows: Mapping[str, Rows],
    died: Mapping[str, Labels],
    recipe: Recipe,
    seed: int,
    starts: Sequence[dict[str, Tensor] | None],
    progress: Progress | None,
) -> Ensemble:
    known, outcome = (np.concatenate([part["train"], part["validation"]]) for part in (rows, died))
    folds = [fold for _, fold in StratifiedKFold(recipe.folds, shuffle=True, random_state=SEED).split(known, outcome)]
    # One graph has one scaling. It is of features alone, so a fold's outcomes stay unknown to the networks it measures.
    scaled = scaling.fit(known, recipe.ramps)
    inputs = scaled.apply(known)
    risks = teacher.risks_apart(known, outcome, folds, SEED, recipe.teachers) if recipe.teacher else None
    members: list[Fitted] = []
    unseen = np.zeros(len(outcome))
    for number, fold in enumerate(folds):
        left = np.setdiff1d(np.arange(len(outcome)), fold)
        parts = {"train": inputs[left], "validation": inputs[fold]}
        labels = {"train": outcome[left], "validation": outcome[fold]}
        targets = None if risks is None else soften(outcome[left], risks[number][left], recipe)
        for _ in range(recipe.members):
            place = len(members)
            say = _numbered(progress, place, recipe)
            start = starts[place]
            members.append(network.fit(parts, labels, recipe, seed + place, targets=targets, start=start, progress=say))
        unseen[fold] = _mean(members[-recipe.members :], inputs[fold])
    return Ensemble(scaled, members, unseen, outcome)


def _mean(members: Sequence[Fitted], scaled: Rows) -> Floats:
    """The mean logit of `members` for scaled rows."""
    mean: Floats = np.mean([member.logits(scaled) for member in members], axis=0)
    return mean


def _numbered(progress: Progress | None, place: int, recipe: Recipe) -> Progress | None:
    """`progress`, told of which network of how many it hears."""
    if progress is None or recipe.networks == 1:
        return progress
    return lambda line: progress(f"network {place + 1} of {recipe.networks}, {line}")
