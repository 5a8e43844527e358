"""Measures what `everybody` holds: ends by conformal calibration on the validation people, the usual day of those who
were trained on. `python -m triton_models.glucose.everybody_measured DATA` writes `everybody.json`; nobody held back is
looked at."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from triton_models import series
from triton_models.glucose import clock, collection, personal, preprocess
from triton_models.glucose.card import CARD, COVERAGE, HORIZONS_MINUTES
from triton_models.glucose.everybody import FILE, Measured
from triton_models.glucose.preprocess import DAY_S, RANGE_LIMITS, TIMES_OF_DAY, VECTOR
from triton_models.glucose.train import served

Floats = npt.NDArray[np.float64]
DAY_APART_MINUTES = 30.0
PASSES = 6
"""After which the factors by hour and by range, each measured beside the other, move by less than a hundredth."""


def measure(
    rows: preprocess.Rows, truth: preprocess.Rows, said: preprocess.Rows, times_s: Floats, person: Floats
) -> Measured:
    """Factors with which a twentieth lies beyond each end at every time of day and in every range, each person with
    the same weight; arguments as of `personal.fit`, of many people whose times are those of their clocks."""
    low, middle, high = np.moveaxis(said.astype(np.float64), 2, 0)
    off = truth - middle
    beyond = (-off / np.maximum(middle - low, 1e-3), off / np.maximum(high - middle, 1e-3))
    times = (times_s % DAY_S / DAY_S * TIMES_OF_DAY).astype(np.int64)
    newest = np.searchsorted(RANGE_LIMITS, rows[:, 0], side="right")
    hours, ranges = np.ones((2, TIMES_OF_DAY)), np.ones((2, len(RANGE_LIMITS) + 1))
    for _ in range(PASSES):
        for place, factors in ((times, hours), (newest, ranges)):
            applied = personal.ends([*([0.0] * VECTOR), *hours.ravel(), *ranges.ravel()], times_s, rows[:, 0])
            for at in range(factors.shape[1]):
                here = place == at
                for end, scores in enumerate(beyond):
                    factors[end, at] *= _quantile(scores[here] / applied[here, end, None], person[here])
    hours, ranges = hours * ranges[:, 1:2], ranges / ranges[:, 1:2]  # the usual range has factor 1
    below, above = ([round(float(factor), 4) for factor in end] for end in hours)
    lower, upper = ([round(float(factor), 4) for factor in end] for end in ranges)
    return Measured(CARD.version, (tuple(below), tuple(above)), (tuple(lower), tuple(upper)))


def main() -> None:
    """Writes `everybody.json`."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", type=Path)
    people: list[series.Series] = []
    others: list[series.Series] = []
    for path in collection.find(asked.parse_args().data):
        long = [one for one in series.read(path).series if len(one) >= collection.LEAST_READINGS]
        for one, part in zip(long, collection.division(len(long)), strict=True):
            if part != "test":
                (people if part == "validation" else others).append(one)
    pieces = []
    for number, one in enumerate(people):
        places = series.strided(one.times_s, collection.STRIDE_MINUTES)
        places = places[preprocess.enough(one.times_s, places)]
        real = np.stack([series.truth(one, places, minutes) for minutes in HORIZONS_MINUTES], axis=1)
        rows = preprocess.on_grid(one.times_s, one.glucose_mg_dl, one.times_s[places])
        pieces.append((rows, real.astype(np.float32), one.times_s[places], np.full(len(places), float(number))))
    rows, truth, times, person = (np.concatenate(column) for column in zip(*pieces, strict=True))
    found = measure(rows, truth, served(Path(__file__).parent / CARD.weights, rows), times, person)
    day = usual_day(_windows(one) for one in others)
    content = {"version": found.version, "hours": found.hours, "ranges": found.ranges, "day": day}
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def usual_day(people: Iterable[tuple[preprocess.Rows, Floats]]) -> list[list[float]]:
    """The mean of the figures of people's windows by the hour of their clocks, each person with the same weight."""
    found = []
    for rows, times_s in people:
        sums, many = clock.by_hour(rows, times_s)
        found.append(sums / np.maximum(many, 1))
    return [[round(float(value), 4) for value in figure] for figure in np.mean(found, axis=0)]


def _windows(one: series.Series) -> tuple[preprocess.Rows, Floats]:
    """A person's windows half an hour apart, and their times."""
    places = series.strided(one.times_s, DAY_APART_MINUTES)
    places = places[preprocess.enough(one.times_s, places)]
    return preprocess.on_grid(one.times_s, one.glucose_mg_dl, one.times_s[places]), one.times_s[places]


def _quantile(scores: npt.NDArray[np.floating], person: Floats) -> float:
    """The quantile that leaves a twentieth beyond, each person weighing the same; 1 where nothing is known."""
    who = np.repeat(person[:, None], scores.shape[1], axis=1)
    known = np.isfinite(scores)
    values, who = scores[known], who[known]
    if not len(values):
        return 1.0
    _, member, counts = np.unique(who, return_inverse=True, return_counts=True)
    order = np.argsort(values)
    weight = np.cumsum((1.0 / counts[member])[order])
    return float(values[order][min(int(np.searchsorted(weight, (1 + COVERAGE) / 2 * weight[-1])), len(values) - 1)])


if __name__ == "__main__":
    main()
