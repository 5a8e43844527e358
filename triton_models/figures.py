"""Figures of a classifier with their 95 % intervals, in numpy only; no model, no files, no drawing.

A figure is (value, low, high). Where `groups` (a person each, say) are given, intervals count people, not images.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Figure = tuple[float, float, float]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

Z95 = 1.959963984540054
RESAMPLES = 1000
BOOTSTRAP_SEED = 20261120
DIGITS = 4


def auroc(labels: npt.ArrayLike, scores: npt.ArrayLike, groups: Sequence[Any] | None = None) -> Figure:
    """Area under the ROC curve of `scores` (higher: more likely positive) for labels 0/1 or bool.

    The interval is DeLong's (1988) without groups and a bootstrap over whole groups (1,000 resamples, fixed seed)
    with them. Raises ValueError unless both classes occur and all scores are finite.
    """
    truth, values = _binary(labels, scores)
    value = rank_auroc(truth, values)
    if groups is None:
        half = Z95 * delong_error(truth, values)
        return value, max(0.0, value - half), min(1.0, value + half)
    resampled = _resampled(truth, values, groups)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return value, float(low), float(high)


def rounded(figure: Figure) -> list[float]:
    """A figure as `evaluate` prints it for machines: four digits."""
    return [round(value, DIGITS) for value in figure]


def rank_auroc(truth: Flags, scores: Floats) -> float:
    """Share of (positive, negative) pairs that `scores` order rightly, ties counting half."""
    ranks = _midranks(scores)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def sensitivity(
    labels: npt.ArrayLike, scores: npt.ArrayLike, threshold: float, groups: Sequence[Any] | None = None
) -> Figure:
    """Share of the positive rows with a score of at least `threshold`; see `proportion` for the interval."""
    truth, values = _binary(labels, scores)
    return proportion(values[truth] >= threshold, _some(groups, truth))


def specificity(
    labels: npt.ArrayLike, scores: npt.ArrayLike, threshold: float, groups: Sequence[Any] | None = None
) -> Figure:
    """Share of the negative rows with a score below `threshold`; see `proportion` for the interval."""
    truth, values = _binary(labels, scores)
    return proportion(values[~truth] < threshold, _some(groups, ~truth))


def proportion(hits: npt.ArrayLike, groups: Sequence[Any] | npt.NDArray[Any] | None = None) -> Figure:
    """Share of true `hits` with Wilson's interval (1927); of no rows at all it is (nan, 0, 1).

    Groups shrink the number of rows by the design effect, the ratio of the variance between groups to that of
    independent rows (Rao and Scott 1992), which is never taken below 1.
    """
    right = np.asarray(hits, dtype=np.float64)
    count = float(len(right))
    if count == 0:
        return float("nan"), 0.0, 1.0
    value = float(right.mean())
    if groups is not None:
        count /= _design_effect(right, groups)
    middle = (value + Z95**2 / (2 * count)) / (1 + Z95**2 / count)
    half = Z95 * np.sqrt(value * (1 - value) / count + Z95**2 / (4 * count**2)) / (1 + Z95**2 / count)
    return value, max(0.0, float(middle - half)), min(1.0, float(middle + half))


def confusion(truth: npt.ArrayLike, predicted: npt.ArrayLike, classes: int) -> list[list[int]]:
    """Counts by class number: rows are the truth, columns what was predicted."""
    flat = np.asarray(truth, dtype=np.int64) * classes + np.asarray(predicted, dtype=np.int64)
    return np.bincount(flat, minlength=classes * classes).reshape(classes, classes).tolist()


def balanced_accuracy(
    truth: npt.ArrayLike, predicted: npt.ArrayLike, classes: int, groups: Sequence[Any] | None = None
) -> Figure:
    """Mean over the classes that occur of the share recognised, with a bootstrap over groups (or rows)."""
    real, said = np.asarray(truth, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    weights = _draws(np.arange(len(real)) if groups is None else groups)
    kinds = [real == kind for kind in range(classes) if (real == kind).any()]

    def of(weight: Floats) -> float:
        shares = [float(weight[kind & (said == real)].sum() / max(weight[kind].sum(), 1e-12)) for kind in kinds]
        return float(np.mean(shares))

    low, high = np.quantile([of(weight) for weight in weights], [0.025, 0.975])
    return of(np.ones(len(real))), float(low), float(high)


def macro_specificity(
    truth: npt.ArrayLike, predicted: npt.ArrayLike, classes: int, groups: Sequence[Any] | None = None
) -> Figure:
    """Mean over the classes of the share of other rows that were not taken for it, with a bootstrap as above."""
    real, said = np.asarray(truth, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    kinds = [(real != kind, said != kind) for kind in range(classes) if (real != kind).any()]

    def of(weight: Floats) -> float:
        shares = [float(weight[other & right].sum() / max(weight[other].sum(), 1e-12)) for other, right in kinds]
        return float(np.mean(shares))

    low, high = np.quantile([of(weight) for weight in _draws(_units(len(real), groups))], [0.025, 0.975])
    return of(np.ones(len(real))), float(low), float(high)


def macro_auroc(truth: npt.ArrayLike, probabilities: npt.ArrayLike, groups: Sequence[Any] | None = None) -> Figure:
    """Mean over the classes that occur of each against the rest, with a bootstrap over groups (or rows).

    Raises ValueError where fewer than two classes occur.
    """
    real, given = np.asarray(truth, dtype=np.int64), np.asarray(probabilities, dtype=np.float64)
    kinds = [kind for kind in range(given.shape[1]) if 0 < int((real == kind).sum()) < len(real)]
    if not kinds:
        raise ValueError("at least two classes must occur")
    value = float(np.mean([rank_auroc(real == kind, given[:, kind]) for kind in kinds]))
    units = _units(len(real), groups)
    resampled = np.array([_resampled(real == kind, given[:, kind], units, keep=True) for kind in kinds])
    low, high = np.nanquantile(np.nanmean(resampled, axis=0), [0.025, 0.975])
    return value, float(low), float(high)


def _units(rows: int, groups: Sequence[Any] | None) -> Sequence[Any] | npt.NDArray[Any]:
    return np.arange(rows) if groups is None else groups


def threshold_for(labels: npt.ArrayLike, scores: npt.ArrayLike, recall: float) -> float:
    """The largest threshold at which at least `recall` of the positive rows score at or above it."""
    truth, values = _binary(labels, scores)
    positives = np.sort(values[truth])
    missed = int(np.floor((1.0 - recall) * len(positives) + 1e-9))
    return float(positives[missed])


def _binary(labels: npt.ArrayLike, scores: npt.ArrayLike) -> tuple[Flags, Floats]:
    truth, values = np.asarray(labels).astype(bool), np.asarray(scores, dtype=np.float64)
    if truth.shape != values.shape or truth.ndim != 1:
        raise ValueError(f"labels {truth.shape} and scores {values.shape} must be one row each")
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite")
    if truth.all() or not truth.any():
        raise ValueError("both classes must occur")
    return truth, values


def _some(groups: Sequence[Any] | None, rows: Flags) -> npt.NDArray[Any] | None:
    return None if groups is None else np.asarray(groups)[rows]


def _midranks(scores: Floats) -> Floats:
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks


def delong_error(truth: Flags, scores: Floats) -> float:
    """Standard error from the placements of each positive among the negatives and the other way round."""
    ranks = _midranks(scores)
    positive, negative = scores[truth], scores[~truth]
    over = (ranks[truth] - _midranks(positive)) / len(negative)
    under = 1.0 - (ranks[~truth] - _midranks(negative)) / len(positive)
    parts = [float(np.var(part, ddof=1)) / len(part) if len(part) > 1 else 0.25 for part in (over, under)]
    return float(np.sqrt(sum(parts)))


def _draws(groups: Sequence[Any] | npt.NDArray[Any]) -> list[Floats]:
    """How often each row counts in each resample of whole groups."""
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    rng, many = np.random.default_rng(BOOTSTRAP_SEED), int(member.max()) + 1
    return [np.bincount(rng.integers(0, many, many), minlength=many)[member].astype(float) for _ in range(RESAMPLES)]


def _resampled(
    truth: Flags, scores: Floats, groups: Sequence[Any] | npt.NDArray[Any], *, keep: bool = False
) -> list[float]:
    """The area of each resample; those without both classes are left out, or with `keep` are nan."""
    order = np.argsort(scores, kind="stable")
    _, place = np.unique(scores[order], return_inverse=True)
    found = []
    for weight in _draws(groups):
        drawn, positive = weight[order], truth[order]
        ups = np.bincount(place, drawn * positive)
        downs = np.bincount(place, drawn * ~positive)
        total = ups.sum() * downs.sum()
        if total > 0:
            found.append(float((ups * (np.cumsum(downs) - downs / 2)).sum() / total))
        elif keep:
            found.append(float("nan"))
    return found


def _design_effect(right: Floats, groups: Sequence[Any] | npt.NDArray[Any]) -> float:
    _, member, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    count, many = len(right), len(sizes)
    plain = float(right.mean() * (1 - right.mean()))
    if many < 2 or plain == 0.0:
        return max(1.0, float((sizes**2).sum()) / count) if many < 2 else 1.0
    residuals = np.bincount(member, right - right.mean())
    between = many / (many - 1) * float((residuals**2).sum()) / count
    return max(1.0, between / plain)
