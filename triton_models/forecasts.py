"""Figures of a forecast with their 95 % intervals, in numpy only; no model, no files, no drawing.

A figure is (value, low, high); intervals come from a bootstrap over people (1,000 resamples, fixed seed), because the
windows of one person are alike. Of fewer than two people the interval is (nan, nan).
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Figure = tuple[float, float, float]
Floats = npt.NDArray[np.float64]

RESAMPLES = 1000
BOOTSTRAP_SEED = 20261128


def rmse(truth: npt.ArrayLike, forecast: npt.ArrayLike, people: npt.ArrayLike) -> Figure:
    """Root mean square error over the windows whose truth is known, in the unit of the truth."""
    error = np.asarray(forecast, dtype=np.float64) - np.asarray(truth, dtype=np.float64)
    return _figure(people, [error**2], lambda sums: np.sqrt(sums[..., 1] / sums[..., 0]))


def mae(truth: npt.ArrayLike, forecast: npt.ArrayLike, people: npt.ArrayLike) -> Figure:
    """Mean absolute error over the windows whose truth is known."""
    error = np.asarray(forecast, dtype=np.float64) - np.asarray(truth, dtype=np.float64)
    return _figure(people, [np.abs(error)], lambda sums: sums[..., 1] / sums[..., 0])


def r2(truth: npt.ArrayLike, forecast: npt.ArrayLike, people: npt.ArrayLike) -> Figure:
    """Share of the variance of the truth that the forecast explains."""
    real = np.asarray(truth, dtype=np.float64)
    error = np.asarray(forecast, dtype=np.float64) - real
    return _figure(
        people,
        [error**2, real, real**2],
        lambda sums: 1.0 - sums[..., 1] / np.maximum(sums[..., 3] - sums[..., 2] ** 2 / sums[..., 0], 1e-12),
    )


def ratio(truth: npt.ArrayLike, forecast: npt.ArrayLike, baseline: npt.ArrayLike, people: npt.ArrayLike) -> Figure:
    """RMSE of the forecast over RMSE of a baseline on the same windows: below 1 it is better."""
    real = np.asarray(truth, dtype=np.float64)
    parts = [(np.asarray(said, dtype=np.float64) - real) ** 2 for said in (forecast, baseline)]
    return _figure(people, parts, lambda sums: np.sqrt(sums[..., 1] / np.maximum(sums[..., 2], 1e-12)))


def coverage(truth: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike, people: npt.ArrayLike) -> Figure:
    """Share of windows whose truth lies within the interval, bounds included."""
    real = np.asarray(truth, dtype=np.float64)
    inside = np.where(np.isnan(real), np.nan, (real >= np.asarray(low)) & (real <= np.asarray(high)))
    return _figure(people, [inside], lambda sums: sums[..., 1] / sums[..., 0])


def _figure(people: npt.ArrayLike, columns: list[Floats], of: Callable[[Floats], Floats]) -> Figure:
    """`of` sums of [count, *columns] over all windows, and its middle 95 % over resampled people."""
    known = np.isfinite(columns[0])
    if not known.any():
        return float("nan"), float("nan"), float("nan")
    _, member = np.unique(np.asarray(people)[known], return_inverse=True)
    many = int(member.max()) + 1
    sums = np.stack([np.bincount(member, minlength=many), *(np.bincount(member, part[known]) for part in columns)], 1)
    value = float(of(sums.sum(axis=0)))
    if many < 2:
        return value, float("nan"), float("nan")
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    drawn = of(rng.multinomial(many, np.full(many, 1 / many), RESAMPLES).astype(np.float64) @ sums)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return value, float(low), float(high)
