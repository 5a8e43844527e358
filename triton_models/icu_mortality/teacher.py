"""A second opinion for training: the risk that trees give each training row without having seen it."""

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold

from schemas.errors import UserError
from triton_models.icu_mortality import scaling

FOLDS = 5
LEAST_RISK = 1e-4
Rows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Risk = Callable[[Rows], Floats]


def risks(rows: Rows, died: Labels, seed: int, names: Sequence[str] = ("boosted", "forest")) -> Rows:
    """Out-of-fold probability of death, float32 [rows], of training rows [rows, 62] (NaN: missing).

    Each fifth of the rows is judged by trees grown on the other four. Learning from these risks beside the labels
    tells the network that a death at low risk is chance.
    """
    found = np.zeros(len(died), dtype=np.float32)
    for fitted, judged in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(rows, died):
        found[judged] = grown(rows[fitted], died[fitted], seed, names)(rows[judged])
    return found


def risks_apart(rows: Rows, died: Labels, parts: Sequence[Places], seed: int, names: Sequence[str]) -> list[Rows]:
    """For each of three or more `parts` (places in `rows`): risk of every row outside it, float32 [rows], NaN inside.

    Trees judge a row of part `b` for part `a` when they have seen neither, so what a network learns from these risks
    holds nothing of the part that it is stopped and measured by. A pair of parts needs its trees once, for both.
    """
    found = [np.full(len(died), np.nan, dtype=np.float32) for _ in parts]
    for one, other in combinations(range(len(parts)), 2):
        left = np.concatenate([part for place, part in enumerate(parts) if place not in (one, other)])
        risk = grown(rows[left], died[left], seed, names)
        found[one][parts[other]] = risk(rows[parts[other]])
        found[other][parts[one]] = risk(rows[parts[one]])
    return found


def grown(rows: Rows, died: Labels, seed: int, names: Sequence[str]) -> Risk:
    """The teachers `names` grown on `rows`: a function from rows to risk, one over the mean of their logits."""
    unknown = sorted(set(names) - set(TEACHERS))
    if unknown:
        raise UserError(f"There is no teacher {unknown[0]!r}; choose from: {', '.join(TEACHERS)}.")
    teachers = [TEACHERS[name](rows, died, seed) for name in names]

    def risk(others: Rows) -> Floats:
        said = [np.clip(teacher(others), LEAST_RISK, 1 - LEAST_RISK) for teacher in teachers]
        logit = np.mean([np.log(risk) - np.log1p(-risk) for risk in said], axis=0)
        mixed: Floats = 1.0 / (1.0 + np.exp(-logit))
        return mixed

    return risk


def boosted(rows: Rows, died: Labels, seed: int) -> Risk:
    """Small, strongly regularised boosted trees that see a third of the features at each split."""
    # scikit-learn cannot bin a column without two different values, and it tells nothing.
    columns = np.fmin.reduce(rows, axis=0) < np.fmax.reduce(rows, axis=0)
    model = HistGradientBoostingClassifier(
        learning_rate=0.03,
        max_iter=250,
        max_leaf_nodes=6,
        min_samples_leaf=30,
        l2_regularization=5.0,
        max_features=0.3,
        random_state=seed,
    ).fit(rows[:, columns], died)
    return lambda others: _of_death(model, others[:, columns])


def forest(rows: Rows, died: Labels, seed: int) -> Risk:
    """Extremely randomised trees on the network's own input."""
    scaled = scaling.fit(rows)
    model = ExtraTreesClassifier(200, min_samples_leaf=5, max_features=0.3, random_state=seed)
    model.fit(scaled.apply(rows), died)
    return lambda others: _of_death(model, scaled.apply(others))


def _of_death(model: Any, rows: Rows) -> Floats:
    found: Floats = model.predict_proba(rows)[:, 1]
    return found


TEACHERS: dict[str, Callable[[Rows, Labels, int], Risk]] = {"boosted": boosted, "forest": forest}
