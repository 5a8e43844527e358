"""Runs wearers' readings through a served forecaster and sums up how near it came beside two baselines.

A window is made of every reading that is at least the stride after the window before it: the four hours up to it go
through the model's own preparation, as in the stream. The truth of a horizon is the reading nearest to it, within 2.5
minutes; without one the window does not count there. Readings at a sensor's limit count as they stand.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from adapters.triton import Inference
from clinstream.evaluation.judge import ask
from schemas.errors import UserError
from schemas.findings import Finding
from schemas.windows import GlucoseWindow
from triton_models import forecasts, linear, series
from triton_models.forecasts import Figure
from triton_models.linear import Linear
from triton_models.model import Model
from triton_models.series import Readings, Series

REPORTED_MINUTES = (30, 60, 120)
HISTORY_S = 4 * 3600.0
STRIDE_MINUTES = 15.0
DIGITS = 4
RANGES_MG_DL = {
    "below 70": (0.0, 70.0),
    "70 to 180": (70.0, 180.0),
    "180 to 250": (180.0, 250.0),
    "from 250": (250.0, 1e9),
}

HOURS = {f"{first} to {first + 6} h": (first, first + 6) for first in range(0, 24, 6)}

Floats = npt.NDArray[np.float64]
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class ForecastVerdict:
    """What `evaluate` reports of a forecaster; figures by minutes ahead as (value, low, high), mg/dL where not a share.

    `ratios` are the forecast's RMSE over that of `persistence` (the newest reading stays) and `linear`. `by_range` is
    the coverage by what the newest reading was, `by_hour` by when it was, on the clock of the file's times. Intervals
    count people; of one person alone they are NaN.
    """

    model: str
    version: str
    windows: int
    people: int
    refused: int
    nominal: float
    rmse: dict[int, Figure]
    mae: dict[int, Figure]
    r2: dict[int, Figure]
    persistence_rmse: dict[int, Figure]
    linear_rmse: dict[int, Figure]
    ratios: dict[str, dict[int, Figure]]
    coverage: Figure
    coverage_by_horizon: dict[int, Figure]
    by_range: dict[str, Figure]
    by_hour: dict[str, Figure]
    left_out: Sequence[str]
    stride_minutes: float
    served_by: str

    def json(self) -> dict[str, Any]:
        """For machines; figures rounded to four digits, null where nothing could be measured."""
        by_horizon = {
            "rmse": self.rmse,
            "mae": self.mae,
            "r2": self.r2,
            "persistence_rmse": self.persistence_rmse,
            "linear_rmse": self.linear_rmse,
            "ratio_to_persistence": self.ratios["persistence"],
            "ratio_to_linear": self.ratios["linear"],
            "coverage_by_horizon": self.coverage_by_horizon,
        }
        level = f"{self.nominal:g}"
        return {
            "model": self.model,
            "version": self.version,
            "n_windows": self.windows,
            **{name: {str(at): _rounded(of[0]) for at, of in figures.items()} for name, figures in by_horizon.items()},
            "coverage": {level: _rounded(self.coverage[0])},
            "coverage_by_range": {name: _rounded(of[0]) for name, of in self.by_range.items()},
            "coverage_by_hour": {name: _rounded(of[0]) for name, of in self.by_hour.items()},
            "intervals": {
                **{
                    name: {str(at): [_rounded(of[1]), _rounded(of[2])] for at, of in figures.items()}
                    for name, figures in by_horizon.items()
                },
                "coverage": {level: [_rounded(bound) for bound in self.coverage[1:]]},
                **{
                    f"coverage_by_{what}": {name: [_rounded(of[1]), _rounded(of[2])] for name, of in found.items()}
                    for what, found in (("range", self.by_range), ("hour", self.by_hour))
                },
            },
            "people": self.people,
            "refused": self.refused,
            "left_out": list(self.left_out),
            "stride_minutes": self.stride_minutes,
            "served_by": self.served_by,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """The windows of a file before anything is asked: each wearer's series with the places that get a forecast."""

    model: Model
    readings: Readings
    baseline: Linear
    stride_minutes: float
    places: Sequence[npt.NDArray[np.int64]]

    def __len__(self) -> int:
        return sum(len(places) for places in self.places)


@dataclass(slots=True)
class _Answered:
    """What was answered so far, a batch a piece."""

    truth: list[Floats] = field(default_factory=list)
    points: list[Floats] = field(default_factory=list)
    straight: list[Floats] = field(default_factory=list)
    newest: list[Floats] = field(default_factory=list)
    hours: list[Floats] = field(default_factory=list)
    people: list[npt.NDArray[np.int64]] = field(default_factory=list)
    refused: int = 0


def plan(model: Model, readings: Readings, stride_minutes: float = STRIDE_MINUTES) -> Plan:
    """The windows with truth at 30, 60 or 120 minutes at least; raises UserError when there is none."""
    places = [_with_truth(one, series.strided(one.times_s, stride_minutes)) for one in readings.series]
    found = Plan(model, readings, linear.load(model.weights_path.parent), stride_minutes, places)
    if not len(found):
        raise UserError(
            "No reading is followed by another after 30, 60 or 120 minutes (within 2.5): nothing can be compared. "
            "A forecast is judged on sensors that report every 5 or 15 minutes."
        )
    return found


async def judge(plan: Plan, client: Inference, served_by: str, advance: Advance = lambda done: None) -> ForecastVerdict:
    """The verdict over all windows that got an answer; `advance` hears how many windows were finished.

    Raises UserError when the model refused them all, and ServerDown when the server goes.
    """
    answered = _Answered()
    reason = ""
    for person, window, truth in _batches(plan):
        rows, refused = _prepared(plan.model, window)
        kept = np.array([place for place in range(len(window)) if place not in refused], dtype=np.int64)
        answered.refused += len(refused)
        reason = reason or next((str(error) for error in refused.values()), "")
        if len(kept):
            findings = await ask(plan.model, client, list(rows[kept]))
            answered.points.append(np.array([_points(finding) for finding in findings]))
            answered.truth.append(truth[kept])
            answered.straight.append(plan.baseline.forecast(rows[kept]))
            answered.newest.append(np.array([window[place].glucose_mg_dl[-1] for place in kept]))
            answered.hours.append(np.array([window[place].times_s[-1] % 86_400 / 3600 for place in kept]))
            answered.people.append(person[kept])
        advance(len(window))
    if not answered.points:
        raise UserError(f"The model refused all {answered.refused} windows: {reason}.")
    return _sum_up(plan, answered, served_by)


def _with_truth(one: Series, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    known = [np.isfinite(series.truth(one, places, minutes)) for minutes in REPORTED_MINUTES]
    return places[np.any(known, axis=0)]


def _batches(plan: Plan) -> Iterator[tuple[npt.NDArray[np.int64], list[GlucoseWindow], Floats]]:
    """(person numbers, windows, truth [windows, horizons reported]) in bites of the model's batch size."""
    size = plan.model.card.serving.max_batch_size
    people: list[int] = []
    windows: list[GlucoseWindow] = []
    truths: list[Floats] = []
    for number, (one, places) in enumerate(zip(plan.readings.series, plan.places, strict=True)):
        times, values = one.times_s.tolist(), one.glucose_mg_dl.tolist()
        starts = np.searchsorted(one.times_s, one.times_s[places] - HISTORY_S)
        truth = np.stack([series.truth(one, places, minutes) for minutes in REPORTED_MINUTES], axis=1)
        for start, place, real in zip(starts.tolist(), places.tolist(), truth, strict=True):
            people.append(number)
            windows.append(GlucoseWindow(times[start : place + 1], values[start : place + 1]))
            truths.append(real)
            if len(windows) == size:
                yield np.array(people), windows, np.stack(truths)
                people, windows, truths = [], [], []
    if windows:
        yield np.array(people), windows, np.stack(truths)


def _prepared(model: Model, windows: Sequence[GlucoseWindow]) -> tuple[npt.NDArray[Any], dict[int, Exception]]:
    if model.prepare_many is None:
        raise UserError(f"{model.card.name} cannot prepare many windows at once; its preprocess.py lacks prepare_many.")
    rows, refused = model.prepare_many(windows)
    return rows, dict(refused)


def _points(finding: Finding) -> list[tuple[float, float, float]]:
    """(low, expected, high) at the reported horizons."""
    by_minutes = {point.horizon_minutes: point for point in finding.forecast}
    points = [by_minutes[minutes] for minutes in REPORTED_MINUTES]
    return [(point.low, point.glucose_mg_dl, point.high) for point in points]


def _sum_up(plan: Plan, answered: _Answered, served_by: str) -> ForecastVerdict:
    parts = (answered.truth, answered.people, answered.newest, answered.hours)
    truth, people, newest, hours = (np.concatenate(part) for part in parts)
    low, middle, high = np.moveaxis(np.concatenate(answered.points), 2, 0)
    at = [list(plan.baseline.horizons_minutes).index(minutes) for minutes in REPORTED_MINUTES]
    straight = np.concatenate(answered.straight)[:, at]
    still = np.repeat(newest[:, None], len(REPORTED_MINUTES), axis=1)

    def each(of: Callable[..., Figure], *forecast: npt.NDArray[Any]) -> dict[int, Figure]:
        return {
            minutes: of(truth[:, place], *(part[:, place] for part in forecast), people)
            for place, minutes in enumerate(REPORTED_MINUTES)
        }

    def covered(rows: npt.NDArray[np.bool_]) -> Figure:
        many = np.repeat(people[rows], len(REPORTED_MINUTES))
        return forecasts.coverage(truth[rows].ravel(), low[rows].ravel(), high[rows].ravel(), many)

    card = plan.model.card
    inside = {name: (newest >= least) & (newest < most) for name, (least, most) in RANGES_MG_DL.items()}
    return ForecastVerdict(
        model=card.name,
        version=card.version,
        windows=len(truth),
        people=len(np.unique(people)),
        refused=answered.refused,
        nominal=0.9,
        rmse=each(forecasts.rmse, middle),
        mae=each(forecasts.mae, middle),
        r2=each(forecasts.r2, middle),
        persistence_rmse=each(forecasts.rmse, still),
        linear_rmse=each(forecasts.rmse, straight),
        ratios={
            "persistence": each(forecasts.ratio, middle, still),
            "linear": each(forecasts.ratio, middle, straight),
        },
        coverage=covered(np.ones(len(truth), dtype=np.bool_)),
        coverage_by_horizon=each(forecasts.coverage, low, high),
        by_range={name: covered(rows) for name, rows in inside.items()},
        by_hour={name: covered((hours >= first) & (hours < last)) for name, (first, last) in HOURS.items()},
        left_out=plan.readings.left_out(),
        stride_minutes=plan.stride_minutes,
        served_by=served_by,
    )


def _rounded(value: float) -> float | None:
    return round(value, DIGITS) if np.isfinite(value) else None
