"""How the recipe was chosen: cross-validated on everything but the test rows; writes a table.

`python -m triton_models.icu_mortality.experiments DATA OUT.md` runs all of it in about ten minutes on one idle core.
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
from triton_models.icu_mortality.network import fit
from triton_models.icu_mortality.recipe import Recipe
from triton_models.icu_mortality.train import SEED, soften

FOLDS = 5
STOPPING_SHARE = 0.15
Rows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

USUAL = Recipe(members=5)
CHANGES: dict[str, Recipe] = {
    "labels alone, no ramps": replace(USUAL, teacher=0.0, ramps=0),
    "boosted and extra trees, no ramps": replace(USUAL, ramps=0),
    "boosted and extra trees, 3 ramps": USUAL,
}


def folds(died: Labels) -> Iterator[tuple[Places, Places, Places]]:
    """(fitting, stopping, judging) places of each fold; the network stops early on rows that do not judge it."""
    for known, judged in StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(died, died):
        mixed = np.random.default_rng(SEED).permutation(known)
        stop = round(STOPPING_SHARE * len(mixed))
        yield mixed[stop:], mixed[:stop], judged


def networks(recipe: Recipe, rows: Rows, died: Labels) -> tuple[list[float], list[float]]:
    """AUROC of each fold: the mean of single networks that differ in their seed, and that of their mean logit."""
    single, together = [], []
    for fitting, stopping, judging in folds(died):
        scaled = scaling.fit(rows[fitting], recipe.ramps)
        parts = {"train": scaled.apply(rows[fitting]), "validation": scaled.apply(rows[stopping])}
        labels = {"train": died[fitting], "validation": died[stopping]}
        targets = soften(died[fitting], rows[fitting], recipe)
        unseen = scaled.apply(rows[judging])
        logits = [
            fit(parts, labels, recipe, SEED + place, targets=targets).logits(unseen) for place in range(recipe.members)
        ]
        single.append(float(np.mean([rank_auroc(died[judging], logit) for logit in logits])))
        together.append(rank_auroc(died[judging], np.mean(logits, axis=0)))
    return single, together


def linear(rows: Rows, died: Labels) -> list[float]:
    """AUROC of each fold of a logistic regression on the network's own input."""
    found = []
    for fitting, _, judging in folds(died):
        scaled = scaling.fit(rows[fitting])
        model = LogisticRegression(C=0.05, max_iter=3000).fit(scaled.apply(rows[fitting]), died[fitting])
        found.append(rank_auroc(died[judging], model.decision_function(scaled.apply(rows[judging]))))
    return found


def taught(names: tuple[str, ...], rows: Rows, died: Labels) -> list[float]:
    """AUROC of each fold of the teachers themselves."""
    found = []
    for fitting, _, judging in folds(died):
        risk = teacher.grown(rows[fitting], died[fitting], SEED, names)
        found.append(rank_auroc(died[judging], risk(rows[judging])))
    return found


def main() -> None:
    """Runs everything and writes a Markdown table, after each row."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", type=Path)
    asked.add_argument("out", type=Path)
    given = asked.parse_args()
    data = table.divide(given.data)
    rows, died = (np.concatenate([part["train"], part["validation"]]) for part in (data.rows, data.died))
    lines = ["| what | AUROC, mean of 5 folds | lowest | highest |", "|---|---|---|---|"]

    def add(what: str, found: list[float]) -> None:
        lines.append(f"| {what} | {np.mean(found):.4f} | {min(found):.3f} | {max(found):.3f} |")
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")

    add("logistic regression", linear(rows, died))
    for names in (("boosted",), ("forest",), ("boosted", "forest")):
        add(f"the teacher itself: {' and '.join(names)}", taught(names, rows, died))
    for what, recipe in CHANGES.items():
        single, together = networks(recipe, rows, died)
        add(f"one network, {what}", single)
        add(f"{recipe.members} networks together, {what}", together)


if __name__ == "__main__":
    main()
