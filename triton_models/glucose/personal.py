"""What is a wearer's own: a vector fitted from the wearer's readings, and how it bends a forecast; no model, no store.

The correction of a forecast is a straight line over the horizons whose start and slope depend on six figures of the
window and on the time of day: twenty numbers a wearer. Before inference the time is put in, which leaves twelve.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from triton_models.glucose.card import COVERAGE, HORIZONS_MINUTES
from triton_models.glucose.preprocess import (
    DAY_S,
    PERSONAL,
    RANGE_LIMITS,
    SLOTS,
    TIMES_OF_DAY,
    VECTOR,
    WITH_ENDS,
    WITH_RANGES,
    effective,
)

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
Outcome = Literal["on trial", "skipped: insufficient data", "rejected: no improvement"]

# Figures of a window: a constant, level, slopes of the last two quarters of an hour, distance from the last hour's and
# from the last three hours' mean. As columns of 36 slots and a constant, so that the served graph is one product. What
# they are multiplied to counts in typical changes by horizon (mg/dL).
UNITS = np.array([12, 22, 30, 36, 41, 46, 49, 52], dtype=np.float32)
LEVEL, LEVEL_SPREAD, SLOPE_SPREAD, CHANGE_SPREAD = 150.0, 60.0, 20.0, 40.0
# Windows with known truth that a wearer needs, how strongly a vector is held to zero, and the last share of the
# windows, which it is judged by and not fitted on. Windows between the two are left out: their truth overlaps.
LEAST_WINDOWS, HOLD, JUDGED_SHARE, APART = 500, 1000.0, 0.2, 12
LEAST_GAIN = 0.002
READINGS_BETWEEN_FITS = 100
# How strongly the ends are held to where the model puts them, in windows, how far they may be moved at most, and how
# often they are measured anew as they are applied.
ENDS_HOLD, ENDS_LEAST, ENDS_MOST, ENDS_PASSES = 30.0, 0.5, 2.0, 3


@dataclass(frozen=True, slots=True)
class Fitted:
    """A vector (empty unless on trial) with its outcome; errors are mg/dL at 60 minutes on the judged windows."""

    outcome: Outcome
    vector: tuple[float, ...]
    windows: int
    metrics: dict[str, float]


def figures() -> tuple[Rows, Rows]:
    """(matrix [6, 36], constants [6]): the figures of a window are matrix @ slots + constants."""
    matrix, constants = np.zeros((PERSONAL // 2, SLOTS)), np.zeros(PERSONAL // 2)
    constants[0] = 1.0
    matrix[1, 0], constants[1] = 1 / LEVEL_SPREAD, -LEVEL / LEVEL_SPREAD
    matrix[2, 0], matrix[2, 3] = 1 / SLOPE_SPREAD, -1 / SLOPE_SPREAD
    matrix[3, 3], matrix[3, 6] = 1 / SLOPE_SPREAD, -1 / SLOPE_SPREAD
    for row, slots in ((4, slice(1, 13)), (5, slice(13, SLOTS))):
        matrix[row, slots] = -1 / CHANGE_SPREAD / len(range(*slots.indices(SLOTS)))
        matrix[row, 0] = 1 / CHANGE_SPREAD
    return matrix.astype(np.float32), constants.astype(np.float32)


def correction(rows: Rows, vector: npt.ArrayLike, times_s: Floats) -> Floats:
    """What is added to the expected value, mg/dL [rows, horizons]; as the served graph computes it."""
    matrix, constants = figures()
    grid = rows[:, :SLOTS]
    seen = np.where(np.isnan(grid), grid[:, :1], grid) @ matrix.T + constants
    now = effective(np.tile(np.asarray(vector, dtype=np.float64)[:VECTOR], (len(rows), 1)), times_s)
    start, slope = now[:, : PERSONAL // 2], now[:, PERSONAL // 2 :]
    along = np.array(HORIZONS_MINUTES, dtype=np.float64) / HORIZONS_MINUTES[-1]
    total = (seen * start).sum(axis=1)[:, None] + (seen * slope).sum(axis=1)[:, None] * along
    found: Floats = total * UNITS
    return found


def fit(rows: Rows, truth: Rows, said: Rows, times_s: Floats) -> Fitted:
    """The vector of one wearer from windows in the order of time, or why there is none.

    `rows` [n, >= 36] as prepared, `truth` mg/dL [n, horizons] (NaN: unknown), `said` [n, horizons, 3] as the model says
    it to everybody. The last fifth judges: a correction that does not lower the error there is left at zero, ends of
    the interval by the time of day that do not make it better (its score) are left at one, and where neither helps
    nothing goes on trial. What does is fitted on all windows.
    """
    expected = said[:, :, 1]
    cut = int(len(rows) * (1 - JUDGED_SHARE))
    if len(rows) < LEAST_WINDOWS or cut <= APART:
        return Fitted("skipped: insufficient data", (), len(rows), {})
    early, late, nothing = slice(0, cut - APART), slice(cut, None), np.zeros(VECTOR)
    trial = _ridge(rows[early], truth[early], expected[early], times_s[early])
    bent = expected[late] + correction(rows[late], trial, times_s[late])
    before, after = _error(truth[late], expected[late]), _error(truth[late], bent)
    at = HORIZONS_MINUTES.index(60)
    metrics = {
        "rmse_60_before": round(float(before[at]), 3),
        "rmse_60_after": round(float(after[at]), 3),
        "gain": round(1 - float(np.nanmean(after / before)), 4),
    }
    bends = metrics["gain"] >= LEAST_GAIN
    vector = trial if bends else nothing
    moved = _ends(truth[early], said[early], correction(rows[early], vector, times_s[early]), times_s[early])
    added = correction(rows[late], vector, times_s[late])
    tried = ends(np.concatenate([vector, moved.ravel()]).tolist(), times_s[late])
    own = _score(truth[late], shifted(said[late], added, tried))
    plain = _score(truth[late], shifted(said[late], added, np.ones_like(tried)))
    metrics["interval_gain"] = round(1 - own / plain, 4) if plain > 0 else 0.0
    moves = metrics["interval_gain"] >= LEAST_GAIN
    if not (bends or moves):
        return Fitted("rejected: no improvement", (), len(rows), metrics)
    vector = _ridge(rows, truth, expected, times_s) if bends else nothing
    moved = np.ones((2, TIMES_OF_DAY))
    if moves:
        moved = _ends(truth, said, correction(rows, vector, times_s), times_s)
    whole = np.concatenate([vector, moved.ravel()])
    return Fitted("on trial", tuple(round(float(value), 5) for value in whole), len(rows), metrics)


def ends(vector: Sequence[float], times_s: Floats, newest: npt.ArrayLike | None = None) -> Floats:
    """How far the interval's lower and upper ends are from the middle, as a share of what the model says [n, 2].

    Between the middles of the three-hour times it goes over evenly; 1 for a vector without such numbers. One with
    factors by range needs the newest readings (mg/dL) too.
    """
    if len(vector) == WITH_RANGES and newest is not None:
        by_range = np.asarray(vector[WITH_ENDS:], dtype=np.float64).reshape(2, len(RANGE_LIMITS) + 1)
        return ends(vector[:WITH_ENDS], times_s) * by_range[:, np.searchsorted(RANGE_LIMITS, newest, side="right")].T
    if len(vector) != WITH_ENDS:
        return np.ones((len(times_s), 2))
    known = np.asarray(vector[VECTOR:], dtype=np.float64).reshape(2, TIMES_OF_DAY)
    at = times_s % DAY_S / DAY_S * TIMES_OF_DAY - 0.5
    before = np.floor(at).astype(np.int64)
    share = at - before
    found: Floats = (known[:, before % TIMES_OF_DAY] * (1 - share) + known[:, (before + 1) % TIMES_OF_DAY] * share).T
    return found


def shifted(said: Rows, added: Floats, factors: Floats) -> Floats:
    """What the model says, with the expected value moved and the ends by these factors from it [n, horizons, 3]."""
    low, middle, high = np.moveaxis(said.astype(np.float64), 2, 0)
    moved = middle + added
    return np.stack([moved - (middle - low) * factors[:, :1], moved, moved + (high - middle) * factors[:, 1:]], axis=2)


def _score(truth: Rows, said: Floats) -> float:
    """The mean interval score in typical changes: width, and what lies beyond an end by the tail's weight."""
    low, _, high = np.moveaxis(said, 2, 0)
    beyond = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
    scores = (high - low + beyond * 2 / (1 - COVERAGE)) / UNITS
    return float(np.nanmean(np.where(np.isnan(truth), np.nan, scores)))


def _ends(truth: Rows, said: Rows, added: Floats, times_s: Floats) -> Floats:
    """Factors [2, times of day] with which a twentieth of the truths lies beyond each end (split conformal).

    What is applied goes over evenly between the times, so that the calmest time would keep too wide an interval and the
    wildest too narrow a one: each pass corrects what the factors of the one before, so applied, still miss.
    """
    low, middle, high = np.moveaxis(said.astype(np.float64), 2, 0)
    off = truth - (middle + added)
    beyond = (-off / np.maximum(middle - low, 1e-3), off / np.maximum(high - middle, 1e-3))
    place = (times_s % DAY_S / DAY_S * TIMES_OF_DAY).astype(np.int64)
    found, applied = np.ones((2, TIMES_OF_DAY)), np.ones((len(times_s), 2))
    for _ in range(ENDS_PASSES):
        for at in range(TIMES_OF_DAY):
            here = place == at
            for end, scores in enumerate(beyond):
                missed = scores[here] / applied[here, end, None]
                known = missed[np.isfinite(missed)]
                if len(known):
                    measured, many = np.quantile(known, 1 - (1 - COVERAGE) / 2), np.count_nonzero(here)
                    found[end, at] *= (many * measured + ENDS_HOLD) / (many + ENDS_HOLD)
        found = np.clip(found, ENDS_LEAST, ENDS_MOST)
        applied = ends([*([0.0] * VECTOR), *found.ravel().tolist()], times_s)
    return found


def verdict(
    rows: Rows, truth: Rows, expected: Rows, times_s: Floats, force: Sequence[float], trial: Sequence[float]
) -> tuple[Literal["deployed", "rolled back: worse"], dict[str, float]]:
    """Whether a vector on trial takes the place of the one in force (empty: of none), by windows that neither saw.

    It does where the mean over the horizons of its RMSE over that of the one in force is at most 1. Arguments as of
    `fit`; every window counts for both.
    """
    errors = [
        _error(truth, expected + correction(rows, each, times_s) if len(each) else expected) for each in (force, trial)
    ]
    change = float(np.nanmean(errors[1] / errors[0]))
    at = HORIZONS_MINUTES.index(60)
    metrics = {
        "trial_windows": float(len(rows)),
        "trial_rmse_60_before": round(float(errors[0][at]), 3),
        "trial_rmse_60_after": round(float(errors[1][at]), 3),
        "trial_change": round(change, 4),
    }
    return ("deployed" if change <= 1 else "rolled back: worse"), metrics


def _ridge(rows: Rows, truth: Rows, expected: Rows, times_s: Floats) -> Floats:
    """Least squares of the errors in typical changes over all horizons together, held to zero."""
    off = (truth - expected) / UNITS
    columns = np.stack([correction(rows, one, times_s) / UNITS for one in np.eye(VECTOR)], axis=2)
    known = np.isfinite(off)
    design, aim = columns[known], off[known].astype(np.float64)
    held = design.T @ design + HOLD * len(HORIZONS_MINUTES) * np.eye(VECTOR)
    found: Floats = np.linalg.solve(held, design.T @ aim)
    return found


def _error(truth: Rows, said: npt.NDArray[np.floating]) -> Floats:
    error: Floats = np.sqrt(np.nanmean((truth - said).astype(np.float64) ** 2, axis=0))
    return error
