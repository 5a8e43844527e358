"""How the recipe was chosen, and what it is worth on stays that it was not fitted to; writes a Markdown table.

`python -m triton_models.icu_mortality.experiments DATA OUT.md` cross-validates on everything but the test rows: parts
of the recipe, then (alone with `--sharing`) ways to share out the stays. `--outer` cross-fits the whole recipe over all
stays instead: an estimate of what the recipe is worth, which no choice may be made by.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from triton_models.figures import rank_auroc
from triton_models.icu_mortality import ensemble, heldback, scaling, table, teacher
from triton_models.icu_mortality.heldback import HeldBack
from triton_models.icu_mortality.recipe import Recipe
from triton_models.icu_mortality.report import choose_threshold

SEED = ensemble.SEED
FOLDS = 5
STOPPING_SHARE = 0.15
Rows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
Say = Callable[[str], None]

USUAL = Recipe(folds=0, members=5)
CHANGES: dict[str, Recipe] = {
    "labels alone, no ramps": replace(USUAL, teacher=0.0, ramps=0),
    "boosted and extra trees, no ramps": replace(USUAL, ramps=0),
    "boosted and extra trees, 3 ramps": USUAL,
}
SHARING: dict[str, Recipe] = {
    "4 networks, stopped and calibrated by 15 % of the stays": Recipe(folds=0, members=4),
    "5 networks, cross-fitted in five folds": Recipe(),
}
REGRESSION = "logistic regression"


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
        parts = {"train": rows[fitting], "validation": rows[stopping]}
        fitted = ensemble.fit(parts, {"train": died[fitting], "validation": died[stopping]}, recipe, SEED)
        unseen = fitted.scaling.apply(rows[judging])
        logits = [member.logits(unseen) for member in fitted.members]
        single.append(float(np.mean([rank_auroc(died[judging], logit) for logit in logits])))
        together.append(rank_auroc(died[judging], np.mean(logits, axis=0)))
    return single, together


def whole(recipe: Recipe, rows: Rows, died: Labels) -> HeldBack:
    """What `recipe` says of each fold: scaling, teacher, networks, calibration, threshold are the others'."""
    found = heldback.empty(died)
    for number, (fitting, stopping, judging) in enumerate(folds(died)):
        parts = {"train": rows[fitting], "validation": rows[stopping]}
        labels = {"train": died[fitting], "validation": died[stopping]}
        fitted = ensemble.fit(parts, labels, recipe, SEED)
        threshold = choose_threshold(fitted.unseen_risks, fitted.unseen_died)
        found.enter(number, judging, fitted.risks(rows[judging]), threshold)
        print(f"  fold {number + 1} of {FOLDS}: {rank_auroc(died[judging], found.risks[judging]):.4f}", flush=True)
    return found


def regression(rows: Rows, died: Labels) -> HeldBack:
    """The same of a logistic regression on the network's own input without ramps, which needs no stays to stop by."""
    found = heldback.empty(died)
    for number, (fitting, stopping, judging) in enumerate(folds(died)):
        known = np.concatenate([fitting, stopping])
        scaled = scaling.fit(rows[known])
        model = LogisticRegression(C=0.05, max_iter=3000).fit(scaled.apply(rows[known]), died[known])
        risks, seen = (model.predict_proba(scaled.apply(rows[part]))[:, 1] for part in (judging, known))
        found.enter(number, judging, risks, choose_threshold(seen, died[known]))
    return found


def taught(names: tuple[str, ...], rows: Rows, died: Labels) -> list[float]:
    """AUROC of each fold of the teachers themselves."""
    found = []
    for fitting, _, judging in folds(died):
        risk = teacher.grown(rows[fitting], died[fitting], SEED, names)
        found.append(rank_auroc(died[judging], risk(rows[judging])))
    return found


def main() -> None:
    """Runs what was asked for and writes a Markdown table, after each row."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", type=Path)
    asked.add_argument("out", type=Path)
    asked.add_argument("--sharing", action="store_true", help="only the ways to share out the stays")
    asked.add_argument("--outer", action="store_true", help="the recipe as it is, over all stays, test rows included")
    given = asked.parse_args()
    torch.set_num_threads(1)
    data = table.divide(given.data)
    names = ("train", "validation", "test") if given.outer else ("train", "validation")
    rows, died = (np.concatenate([part[name] for name in names]) for part in (data.rows, data.died))
    lines: list[str] = []

    def add(line: str) -> None:
        lines.append(line)
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")

    if not given.outer and not given.sharing:
        _parts(rows, died, add)
        add("")
    _compare({"as served": Recipe()} if given.outer else SHARING, rows, died, add)


def _parts(rows: Rows, died: Labels, add: Say) -> None:
    """What each part of the recipe gains."""

    def row(what: str, found: list[float]) -> None:
        add(f"| {what} | {np.mean(found):.4f} | {min(found):.3f} | {max(found):.3f} |")

    add("| what | AUROC, mean of 5 folds | lowest | highest |\n|---|---|---|---|")
    for names in (("boosted",), ("forest",), ("boosted", "forest")):
        row(f"the teacher itself: {' and '.join(names)}", taught(names, rows, died))
    for what, recipe in CHANGES.items():
        single, together = networks(recipe, rows, died)
        row(f"one network, {what}", single)
        row(f"{recipe.members} networks together, {what}", together)


def _compare(recipes: dict[str, Recipe], rows: Rows, died: Labels, add: Say) -> None:
    """Whole recipes and a logistic regression on the same folds, and the last recipe less each of the others."""
    add(f"{len(died):,} stays, {int(died.sum())} deaths, in {FOLDS} folds\n")
    add(heldback.HEADER)
    found = {REGRESSION: regression(rows, died)}
    add(found[REGRESSION].line(REGRESSION))
    for what, recipe in recipes.items():
        print(what, flush=True)
        found[what] = whole(recipe, rows, died)
        add(found[what].line(what))
    add("")
    last = list(found)[-1]
    for what in list(found)[:-1]:
        add(f"AUROC, {last} less {what}: {heldback.shown(found[last].gain(found[what]), digits=4)}")


if __name__ == "__main__":
    main()
