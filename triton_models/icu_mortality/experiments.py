"""How the recipe was chosen: one change at a time, cross-validated on everything but the test rows; writes a table.

`python -m triton_models.icu_mortality.experiments DATA OUT.md` runs all of them in about ten minutes on one core.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from triton_models.figures import rank_auroc
from triton_models.icu_mortality import scaling, table, teacher
from triton_models.icu_mortality.train import SEED, Recipe, fit, soften

FOLDS = 5
STOPPING_SHARE = 0.15
Rows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

# The recipe as first written down: 2 % noise, learning from labels alone.
PLAIN = Recipe(teacher=0.0, noise=0.02)
TAUGHT = Recipe(teacher=0.7, noise=0.02)
CHANGES: dict[str, Recipe] = {
    "as first written: labels alone, 2 % noise": PLAIN,
    "teacher 0.7": TAUGHT,
    "teacher 0.7, noise 0.3": replace(TAUGHT, noise=0.3),
    "teacher 1.0, noise 0.3": replace(TAUGHT, teacher=1.0, noise=0.3),
    "teacher 1.0": replace(TAUGHT, teacher=1.0),
    "teacher 0.7, no noise": replace(TAUGHT, noise=0.0),
    "teacher 0.7, noise 0.1": replace(TAUGHT, noise=0.1),
    "teacher 0.7, noise 0.5": replace(TAUGHT, noise=0.5),
    "teacher 0.7, rate 5e-4": replace(TAUGHT, rate=5e-4),
    "teacher 0.7, rate 3e-3": replace(TAUGHT, rate=3e-3),
    "teacher 0.7, rate 5e-3": replace(TAUGHT, rate=5e-3),
    "teacher 0.7, batch 16": replace(TAUGHT, batch=16),
    "teacher 0.7, batch 64": replace(TAUGHT, batch=64),
    "teacher 0.7, 256-128-64-32": replace(TAUGHT, sizes=(256, 128, 64, 32), dropout=(0.3, 0.2, 0.2, 0.2)),
    "teacher 0.7, 64-32-16": replace(TAUGHT, sizes=(64, 32, 16)),
    "teacher 0.7, dropout 0.1": replace(TAUGHT, dropout=(0.1, 0.1, 0.1)),
    "teacher 0.7, dropout 0.5": replace(TAUGHT, dropout=(0.5, 0.5, 0.5)),
    "teacher 0.7, L2 1e-4": replace(TAUGHT, l2=1e-4),
    "teacher 0.7, no class weights": replace(TAUGHT, class_weights=False),
}


def folds(died: Labels) -> Iterator[tuple[Places, Places, Places]]:
    """(fitting, stopping, judging) places of each fold; the network stops early on rows that do not judge it."""
    for known, judged in StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(died, died):
        mixed = np.random.default_rng(SEED).permutation(known)
        stop = round(STOPPING_SHARE * len(mixed))
        yield mixed[stop:], mixed[:stop], judged


def network(recipe: Recipe, rows: Rows, died: Labels) -> list[float]:
    """AUROC of each fold."""
    found = []
    for fitting, stopping, judging in folds(died):
        scaled = scaling.fit(rows[fitting])
        parts = {"train": scaled.apply(rows[fitting]), "validation": scaled.apply(rows[stopping])}
        labels = {"train": died[fitting], "validation": died[stopping]}
        fitted = fit(parts, labels, recipe, SEED, targets=soften(died[fitting], rows[fitting], recipe))
        found.append(rank_auroc(died[judging], fitted.logits(scaled.apply(rows[judging]))))
    return found


def together(recipe: Recipe, rows: Rows, died: Labels, members: int = 5) -> list[float]:
    """AUROC of each fold of the mean logit of networks that differ in their seed alone."""
    found = []
    for fitting, stopping, judging in folds(died):
        scaled = scaling.fit(rows[fitting])
        parts = {"train": scaled.apply(rows[fitting]), "validation": scaled.apply(rows[stopping])}
        labels = {"train": died[fitting], "validation": died[stopping]}
        targets = soften(died[fitting], rows[fitting], recipe)
        fitted = [fit(parts, labels, recipe, SEED + place, targets=targets) for place in range(members)]
        unseen = scaled.apply(rows[judging])
        found.append(rank_auroc(died[judging], np.mean([member.logits(unseen) for member in fitted], axis=0)))
    return found


def linear(rows: Rows, died: Labels) -> list[float]:
    """AUROC of each fold of a logistic regression on the network's own input."""
    found = []
    for fitting, _, judging in folds(died):
        scaled = scaling.fit(rows[fitting])
        model = LogisticRegression(C=0.05, max_iter=3000).fit(scaled.apply(rows[fitting]), died[fitting])
        found.append(rank_auroc(died[judging], model.decision_function(scaled.apply(rows[judging]))))
    return found


def boosted(rows: Rows, died: Labels) -> list[float]:
    """AUROC of each fold of the trees that the teacher is made of."""
    found = []
    for fitting, _, judging in folds(died):
        model = teacher.trees(SEED).fit(rows[fitting], died[fitting])
        found.append(rank_auroc(died[judging], model.predict_proba(rows[judging])[:, 1]))
    return found


def main() -> None:
    """Runs everything and writes a Markdown table, after each row."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", type=Path)
    asked.add_argument("out", type=Path)
    given = asked.parse_args()
    data = table.read(table.find(given.data))
    parts = table.split(data.positive)
    seen = np.concatenate([parts["train"], parts["validation"]])
    rows, died = data.rows[seen], data.positive[seen]
    lines = ["| what | AUROC, mean of 5 folds | lowest | highest |", "|---|---|---|---|"]

    def add(what: str, found: list[float]) -> None:
        lines.append(f"| {what} | {np.mean(found):.4f} | {min(found):.3f} | {max(found):.3f} |")
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")

    add("logistic regression", linear(rows, died))
    add("boosted trees", boosted(rows, died))
    for what, recipe in CHANGES.items():
        add(what, network(recipe, rows, died))
    add("teacher 0.7, five networks together", together(TAUGHT, rows, died))


if __name__ == "__main__":
    main()
