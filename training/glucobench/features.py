"""What the pretrained forecaster sees of a window: changes, coarse history, time of day, the wearer's own figures."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.glucobench.protocol import Windows

Rows = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

FINE, STEPS = 24, 12
# Coarse history: means of an hour back to 12 hours, then of two hours back to a day.
BLOCKS = (
    *((start, start + 12) for start in range(24, 144, 12)),
    *((start, start + 24) for start in range(144, 288, 24)),
)
LONGEST = BLOCKS[-1][1]
LEVEL, LEVEL_SPREAD, CHANGE_SPREAD, STEP_SPREAD = 150.0, 60.0, 40.0, 8.0
DAY_S = 86_400.0
HOURS = 24
# How many of the last features are the wearer's own.
OWN = 7


@dataclass(frozen=True, slots=True)
class Wearer:
    """What is known of a wearer beforehand, mg/dL: mean, spread, mean step, and the mean of each hour of the day."""

    mean: float
    spread: float
    step: float
    day: Floats


NOBODY = Wearer(0.0, 0.0, 0.0, np.zeros(HOURS))
PRIOR_HOURS = 48.0


def wearers(windows: Windows) -> dict[int, Wearer]:
    """The figures of each subject from the newest values of windows to learn from."""
    found = {}
    for subject in np.unique(windows.subject):
        mine = windows.subject == subject
        rows, newest = windows.rows[mine], windows.rows[mine, -1].astype(np.float64)
        hour = _hour(windows.newest_s[mine])
        mean = float(newest.mean())
        count = np.bincount(hour.astype(int) % HOURS, minlength=HOURS)
        total = np.bincount(hour.astype(int) % HOURS, newest - mean, minlength=HOURS)
        step = float(np.abs(rows[:, -1] - rows[:, -2]).mean())
        found[int(subject)] = Wearer(mean, float(newest.std()), step, total / (count + PRIOR_HOURS))
    return found


def features(windows: Windows, known: Mapping[int, Wearer]) -> Rows:
    """One row a window, float32; a subject without figures of its own has zeros there and a flag that says so."""
    rows = windows.rows[:, ::-1][:, :LONGEST]
    newest = rows[:, :1]
    fine = np.full((len(rows), FINE + 1), np.nan, dtype=np.float32)
    fine[:, : rows.shape[1]] = rows[:, : FINE + 1]
    gone = np.isnan(fine)
    fine = np.where(gone, newest, fine)
    steps = (fine[:, :STEPS] - fine[:, 1 : STEPS + 1]) / STEP_SPREAD
    coarse = np.stack([_mean(rows[:, start:stop]) for start, stop in BLOCKS], axis=1)
    missing = np.isnan(coarse)
    coarse = np.where(missing, 0.0, (coarse - newest) / CHANGE_SPREAD)
    parts = [
        (newest - LEVEL) / LEVEL_SPREAD,
        (fine[:, 1:] - newest) / CHANGE_SPREAD,
        steps,
        coarse,
        missing,
        _context(rows),
        _clock(windows.newest_s),
        _own(windows, known),
    ]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _mean(values: Rows) -> Rows:
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    mean: Rows = np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
    return mean


def _context(rows: Rows) -> Rows:
    """Mean, spread, lowest, highest and mean step of all that is seen."""
    known = np.isfinite(rows)
    mean = _mean(rows)[:, None]
    off = np.where(known, rows - mean, 0.0)
    spread = np.sqrt((off**2).sum(axis=1) / known.sum(axis=1))
    step = np.diff(rows, axis=1)
    rough = np.where(np.isfinite(step), np.abs(step), 0.0).sum(axis=1) / np.maximum(1, np.isfinite(step).sum(axis=1))
    table = [
        (mean[:, 0] - LEVEL) / LEVEL_SPREAD,
        spread / CHANGE_SPREAD,
        (np.nanmin(rows, axis=1) - LEVEL) / LEVEL_SPREAD,
        (np.nanmax(rows, axis=1) - LEVEL) / LEVEL_SPREAD,
        rough / STEP_SPREAD,
        np.log(rough / STEP_SPREAD + 0.05),
    ]
    return np.stack(table, axis=1).astype(np.float32)


def _hour(time_s: Floats) -> Floats:
    hour: Floats = (time_s % DAY_S) / 3600.0
    return hour


def _clock(time_s: Floats) -> Rows:
    turn = 2 * np.pi * _hour(time_s) / HOURS
    return np.stack([np.sin(turn), np.cos(turn), np.sin(2 * turn), np.cos(2 * turn)], axis=1).astype(np.float32)


def _own(windows: Windows, known: Mapping[int, Wearer]) -> Rows:
    """The wearer's level and spread, and how the hour ahead and this one usually differ from it."""
    subjects, place = np.unique(windows.subject, return_inverse=True)
    people = [known.get(int(subject), NOBODY) for subject in subjects]
    there = np.array([int(subject) in known for subject in subjects], dtype=np.float32)[place]
    figures = np.array([[p.mean, p.spread, p.step] for p in people]).reshape(-1, 3)[place]
    days = np.array([p.day for p in people]).reshape(-1, HOURS)
    now = _hour(windows.newest_s)
    here, ahead = _at(days, place, now), _at(days, place, now + 0.75)
    newest = windows.rows[:, -1]
    table = [
        there,
        there * (figures[:, 0] - LEVEL) / LEVEL_SPREAD,
        there * (newest - figures[:, 0]) / LEVEL_SPREAD,
        there * figures[:, 1] / CHANGE_SPREAD,
        there * figures[:, 2] / STEP_SPREAD,
        there * here / CHANGE_SPREAD,
        there * (ahead - here) / STEP_SPREAD,
    ]
    return np.stack(table, axis=1).astype(np.float32)


def _at(days: Floats, place: npt.NDArray[np.int64], hour: Floats) -> Floats:
    """The day's curve at an hour, between the middles of the hours."""
    left = np.floor(hour - 0.5)
    share = hour - 0.5 - left
    first, second = left.astype(int) % HOURS, (left.astype(int) + 1) % HOURS
    value: Floats = days[place, first] * (1 - share) + days[place, second] * share
    return value
