"""What forecasts of windows are worth: the four errors of the protocol, intervals of their ratios; no model here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
RESAMPLES, BOOTSTRAP_SEED = 300, 20261128


@dataclass(frozen=True, slots=True)
class Errors:
    """Each window's squared and absolute error, averaged over its hour (mg/dL squared, mg/dL)."""

    squared: Floats
    absolute: Floats

    def pick(self, places: npt.NDArray[np.int64]) -> "Errors":
        """Some of the windows, or some more than once."""
        return Errors(self.squared[places], self.absolute[places])


MEASURES: Mapping[str, Callable[[Errors], float]] = {
    "median_rmse": lambda errors: float(np.sqrt(np.median(errors.squared))),
    "median_mae": lambda errors: float(np.median(errors.absolute)),
    "mean_rmse": lambda errors: float(np.sqrt(errors.squared.mean())),
    "mean_mae": lambda errors: float(errors.absolute.mean()),
}
"""By name, in mg/dL: root of the median and of the mean of the squared errors, median and mean of the absolute ones."""


def judge(truth: npt.ArrayLike, forecast: npt.ArrayLike) -> Errors:
    """Errors of forecasts [windows, steps] against what came."""
    off = np.asarray(forecast, dtype=np.float64) - np.asarray(truth, dtype=np.float64)
    return Errors((off**2).mean(axis=1), np.abs(off).mean(axis=1))


def ratio_interval(ours: Errors, other: Errors, measure: str, people: npt.ArrayLike) -> tuple[float, float]:
    """The middle 95 % of other/ours over resampled people; (nan, nan) of fewer than two."""
    names, member = np.unique(np.asarray(people), return_inverse=True)
    if len(names) < 2:
        return float("nan"), float("nan")
    order = np.argsort(member, kind="stable")
    mine = np.split(order, np.flatnonzero(np.diff(member[order])) + 1)
    rng, of = np.random.default_rng(BOOTSTRAP_SEED), MEASURES[measure]
    found = []
    for _ in range(RESAMPLES):
        places = np.concatenate([mine[number] for number in rng.integers(0, len(names), len(names))])
        found.append(of(other.pick(places)) / max(of(ours.pick(places)), 1e-9))
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
