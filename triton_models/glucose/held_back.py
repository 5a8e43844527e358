"""What wearers' own vectors are worth to people held back: `python -m triton_models.glucose.held_back DATA`.

Of each person the last 15 % of the windows are judged; the vector is fitted, or refused, as in service on what lies
before them: all of it, or the last days of it. Prints Markdown.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from triton_models import forecasts, series
from triton_models.forecasts import Figure
from triton_models.glucose import clock, collection, everybody, personal, preprocess
from triton_models.glucose.card import HORIZONS_MINUTES
from triton_models.glucose.train import served

Rows = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
LATE_SHARE, APART = 0.15, 12
SHOWN = (30, 60, 120)
UNTOLD: dict[str, float] = {"1 day": 1.0, "2 days": 2.0, "3 days": 3.0, "4 days": 4.0}
DAYS: dict[str, float | None] = {"3 days": 3.0, "7 days": 7.0, "14 days": 14.0, "all before": None}
RANGES = {"below 70": (0, 70), "70 to 180": (70, 180), "180 to 250": (180, 250), "above 250": (250, 999)}
HOURS = {f"{start} to {start + 3} h": (start, start + 3) for start in range(0, 24, 3)}


@dataclass(frozen=True, slots=True)
class Person:
    """A held-back person's windows in the order of time; `said` [n, horizons, 3] without a vector."""

    rows: Rows
    truth: Rows
    said: Rows
    times_s: Floats


@dataclass(frozen=True, slots=True)
class Judged:
    """The judged windows of all people, with (`own`) and without (`plain`) their vectors, and with everybody's ends by
    the hour of their clocks and the range (`clock`)."""

    truth: Rows
    plain: Rows
    clock: Rows
    own: Rows
    newest: Rows
    hour: Floats
    person: npt.NDArray[np.int64]
    outcomes: Sequence[str]


def people(data: Path, weights: Path) -> Iterator[Person]:
    """Everyone whom training, validation and calibration never saw."""
    for path in collection.find(data):
        long = [one for one in series.read(path).series if len(one) >= collection.LEAST_READINGS]
        for one, part in zip(long, collection.division(len(long)), strict=True):
            if part != "test":
                continue
            places = series.strided(one.times_s, collection.STRIDE_MINUTES)
            places = places[preprocess.enough(one.times_s, places)]
            real = np.stack([series.truth(one, places, minutes) for minutes in HORIZONS_MINUTES], axis=1)
            known = np.isfinite(real).any(axis=1)
            places, truth = places[known], real[known].astype(np.float32)
            rows = preprocess.on_grid(one.times_s, one.glucose_mg_dl, one.times_s[places])
            yield Person(rows, truth, served(weights, rows), one.times_s[places])


def judged(everyone: Sequence[Person], days: float | None) -> Judged:
    """Each person's last windows after a fit on so many days before them."""
    found: list[tuple[Rows, ...]] = []
    hours, numbers, outcomes = [], [], []
    for number, one in enumerate(everyone):
        cut = int(len(one.rows) * (1 - LATE_SHARE))
        start = 0 if days is None else int(np.searchsorted(one.times_s, one.times_s[cut] - days * 86_400))
        fit, late = slice(start, max(start, cut - APART)), slice(cut, None)
        fitted = personal.fit(one.rows[fit], one.truth[fit], one.said[fit], one.times_s[fit])
        own = one.said[late].astype(np.float64)
        if fitted.vector:
            added = personal.correction(one.rows[late], fitted.vector, one.times_s[late])
            own = personal.shifted(one.said[late], added, personal.ends(fitted.vector, one.times_s[late]))
        first = everybody.vector(everybody.measured(), 0.0)
        factors = personal.ends(first, one.times_s[late], one.rows[late, 0])
        by_clock = personal.shifted(one.said[late], np.zeros_like(one.truth[late], dtype=np.float64), factors)
        told = (one.said[late], by_clock.astype(np.float32), own.astype(np.float32))
        found.append((one.truth[late], *told, one.rows[late, 0]))
        hours.append(one.times_s[late] % 86_400 / 3600)
        numbers.append(np.full(len(one.times_s[late]), number))
        outcomes.append(fitted.outcome)
    truth, plain, clock, mine, newest = (np.concatenate(part) for part in zip(*found, strict=True))
    return Judged(truth, plain, clock, mine, newest, np.concatenate(hours), np.concatenate(numbers), outcomes)


def untold(one: Person, days: float, cut: int) -> Rows:
    """What a person's last windows are told by a clock that nobody told, learned from so many days before them."""
    start = int(np.searchsorted(one.times_s, one.times_s[cut] - days * 86_400))
    before, late = slice(start, max(start, cut - APART)), slice(cut, None)
    if cut - APART - start < clock.LEAST_WINDOWS:
        return one.said[late]
    numbers = everybody.measured()
    vector = everybody.vector_of(numbers, clock.likely(one.rows[before], one.times_s[before], numbers.day))
    factors = personal.ends(vector, one.times_s[late], one.rows[late, 0])
    told = personal.shifted(one.said[late], np.zeros_like(one.truth[late], dtype=np.float64), factors)
    return told.astype(np.float32)


def main() -> None:
    """Prints what a vector changes, by how much it was fitted on, and the coverage with it."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", type=Path)
    given = asked.parse_args()
    everyone = list(people(given.data, Path(__file__).parent / "glucose.onnx"))
    print("| fitted on | on trial | rejected | skipped | 30 min | 60 min | 120 min |")
    print("|---|---|---|---|---|---|---|")
    last = None
    for name, days in DAYS.items():
        last = judged(everyone, days)
        kinds = [sum(each.startswith(kind) for each in last.outcomes) for kind in ("on trial", "rejected", "skipped")]
        cells = [_shown(_ratio(last, HORIZONS_MINUTES.index(minutes))) for minutes in SHOWN]
        print(f"| {name} | {' | '.join(map(str, kinds))} | {' | '.join(cells)} |")
    assert last is not None
    print("\n| in the interval | without vectors | by the clock, as for everybody | with vectors |\n|---|---|---|---|")
    parts: dict[str, npt.NDArray[np.bool_]] = {"all": np.ones(len(last.hour), dtype=np.bool_)}
    parts |= {name: (last.newest >= least) & (last.newest < most) for name, (least, most) in RANGES.items()}
    parts |= {name: (last.hour >= least) & (last.hour < most) for name, (least, most) in HOURS.items()}
    for name, keep in parts.items():
        print(
            f"| {name} | {' | '.join(_shown(_held(last, said, keep)) for said in (last.plain, last.clock, last.own))} |"
        )
    print(f"\n| in the interval, clock learned from | {' | '.join(UNTOLD)} |\n|---|{'---|' * len(UNTOLD)}")
    learned = [
        np.concatenate([untold(one, days, int(len(one.rows) * (1 - LATE_SHARE))) for one in everyone])
        for days in UNTOLD.values()
    ]
    for name, keep in parts.items():
        print(f"| {name} | {' | '.join(f'{_held(last, said, keep)[0]:.3f}' for said in learned)} |")


def _ratio(found: Judged, at: int) -> Figure:
    return forecasts.ratio(found.truth[:, at], found.own[:, at, 1], found.plain[:, at, 1], found.person)


def _held(found: Judged, said: Rows, keep: npt.NDArray[np.bool_]) -> Figure:
    people = np.repeat(found.person[keep], said.shape[1])
    low, high = said[keep][:, :, 0].ravel(), said[keep][:, :, 2].ravel()
    return forecasts.coverage(found.truth[keep].ravel(), low, high, people)


def _shown(figure: Figure) -> str:
    value, low, high = figure
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
