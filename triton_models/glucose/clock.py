"""What a wearer's clock shows where nobody said its zone, told by the glucose: calm at night, restless after meals.

A likelihood of each whole hour that it may be ahead of UTC, never one answer: with few days several hours stay likely.
"""

import numpy as np
import numpy.typing as npt

from triton_models.glucose.preprocess import DAY_S, SLOTS, Rows

Floats = npt.NDArray[np.float64]
HOURS = 24
LEAST_WINDOWS = 120
"""Twenty hours: before that the hours are guessed, and the ends fit no better (validation people)."""

TRUST = 0.5
"""How much a window says; chosen on the validation people. Less than 1: neighbouring windows tell the same story."""


def figures(rows: Rows) -> Floats:
    """Five figures a window [n, 5], each with mean 0 and spread 1 over these windows: how restless the last hour and
    the last three were, how far they reached, the level, and its distance from their mean."""
    grid = rows[:, :SLOTS].astype(np.float64)
    grid = np.where(np.isnan(grid), grid[:, :1], grid)
    steps = np.diff(grid, axis=1)
    found = np.stack(
        [
            np.log(steps[:, :12].std(axis=1) + 1.0),
            np.log(steps.std(axis=1) + 1.0),
            np.log(np.ptp(grid, axis=1) + 5.0),
            grid[:, 0],
            grid[:, 0] - grid.mean(axis=1),
        ],
        axis=1,
    )
    scaled: Floats = (found - found.mean(axis=0)) / (found.std(axis=0) + 1e-6)
    return scaled


def by_hour(rows: Rows, times_s: Floats) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Sums of the figures [5, 24] and how many windows there are [24], by the hour of these times."""
    hour = (times_s % DAY_S / 3600).astype(np.int64)
    columns = [np.bincount(hour, column, HOURS) for column in figures(rows).T]
    return np.stack(columns), np.bincount(hour, minlength=HOURS)


def likely(rows: Rows, times_s: Floats, day: npt.ArrayLike) -> Floats:
    """How likely the clock is 0, 1, ... 23 hours ahead of these times (UTC) [24]; `day` [5, 24] is everybody's usual
    day by their clocks. All alike where there are fewer windows than `LEAST_WINDOWS`."""
    if len(rows) < LEAST_WINDOWS:
        return np.full(HOURS, 1 / HOURS)
    sums, many = by_hour(rows, times_s)
    usual = np.asarray(day, dtype=np.float64)
    weighed = np.empty(HOURS)
    for ahead in range(HOURS):
        turned = np.roll(usual, -ahead, axis=1)
        weighed[ahead] = (sums * turned - many * turned**2 / 2).sum()
    found = np.exp(TRUST * (weighed - weighed.max()))
    shares: Floats = found / found.sum()
    return shares
