"""Fits a wearer's own vector from the wearer's readings and notes the outcome; when that is due, others decide."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from adapters.clock import Clock
from adapters.database import Wearer, WearerModel
from adapters.triton import PRIORITIES, Inference, triton_name
from triton_models import series
from triton_models.glucose import clock as clocks
from triton_models.glucose import everybody, personal, preprocess
from triton_models.glucose.card import CARD, HORIZONS_MINUTES
from triton_models.series import Series

# Windows are ten minutes apart, of the last thirteen weeks.
APART_MINUTES = 10.0
SPAN = timedelta(weeks=13)
# Six hours of windows with truth end a trial.
TRIAL_WINDOWS = 36
TOLD = "clock_ahead_minutes"
"""In the metrics of a first vector: that somebody said the zone."""
SAME, NEARLY = 1e-4, 0.02
"""How far factors may be apart and still be the same: as they are stored, in single precision; and of a clock that is
learned, whose every day tells it a little differently."""
FEATURES = (
    "constant, with the time of day (UTC) by two harmonics",
    "level of the newest reading",
    "slope of the last 15 minutes",
    "slope of the 15 minutes before",
    "distance from the mean of the last hour",
    "distance from the mean of the three hours",
    "ends of the interval by the time of day (UTC) in eight times of three hours",
    "ends of the interval by the range of the newest reading, in a first vector by the wearer's clock only",
)


class Models(Protocol):
    """Where a wearer's readings are and attempts are noted; all raise DatabaseUnavailable."""

    async def of(self, wearer: Wearer) -> list[WearerModel]:
        """All attempts of a wearer, the newest first."""
        ...

    async def zone(self, wearer: Wearer) -> str:
        """The zone of the wearer's clock; empty where nobody said it."""
        ...

    async def add(self, wearer: Wearer, made: WearerModel) -> bool:
        """Notes an attempt; False where somebody else noted one of that number first."""
        ...

    async def readings(self, wearer: Wearer, since: datetime) -> list[tuple[datetime, float]]:
        """(sensor time, mg/dL) in force, oldest first."""
        ...

    async def end_trial(self, wearer: Wearer, number: int, outcome: str, metrics: Mapping[str, Any]) -> bool:
        """Ends the trial of an attempt; False where it is on trial no more."""
        ...


async def fit(
    models: Models,
    inference: Inference,
    clock: Clock,
    wearer: Wearer,
    version: str = CARD.version,
    why: str = "request",
    after: datetime | None = None,
) -> WearerModel | None:
    """Fits one wearer's vector to a version of the model and notes the attempt.

    Who has too few readings gets everybody's ends of the interval first, by the clock whose zone is known, else by what
    the readings make likely that it shows (`triton_models.glucose.everybody`, `clock`). One that lowered the wearer's
    error is on trial (`end_trial`), the first as every other; deployed, it is given to that version alone. What is in
    force stays so meanwhile, and where the new one is not deployed. None where somebody else fitted the wearer
    meanwhile: unless it was asked for, the newest attempt must be the one of `after` (None: there is none). Raises
    DatabaseUnavailable, and ServerDown or Overloaded when Triton does not say what everybody is told.
    """
    now = clock.now()
    before = await models.of(wearer)
    if why != "request" and (before[0].trained_at if before else None) != after:
        return None
    number = 1 + max((each.number for each in before), default=0)
    found = await models.readings(wearer, now - SPAN)
    one = _series(wearer, found)
    fitted = await _fitted(one, inference, version)
    if fitted.outcome == "skipped: insufficient data":
        fitted = await _by_the_clock(models, wearer, fitted, before, version, now, one)
    made = WearerModel(
        number=number,
        version=f"{version.partition('.')[0]}.{number}.0",
        base_version=version,
        outcome=fitted.outcome,
        active=False,
        vector=fitted.vector,
        trained_at=now,
        used_at=None,
        data_from=found[0][0] if found else None,
        data_until=found[-1][0] if found else None,
        readings=len(found),
        features=FEATURES,
        hyperparameters={
            "hold": personal.HOLD,
            "judged_share": personal.JUDGED_SHARE,
            "least_windows": personal.LEAST_WINDOWS,
            "least_gain": personal.LEAST_GAIN,
            "model": f"{CARD.name} {version}",
            "because": why,
        },
        metrics={"windows": fitted.windows, **fitted.metrics},
    )
    return made if await models.add(wearer, made) else None


async def end_trial(models: Models, inference: Inference, wearer: Wearer) -> WearerModel | None:
    """Ends a wearer's trial once enough windows since the fit have met their truth: deployed, or rolled back.

    It and the one in force (where none is, what everybody is told) are computed for the same windows that came in after
    the fit, beside what is served: the wearer is shown what was in force before. None where it is too early, or nothing
    is on trial. Raises as `fit`.
    """
    attempts = await models.of(wearer)
    trial = next((each for each in attempts if each.outcome == "on trial"), None)
    if trial is None:
        return None
    force = next((each for each in attempts if each.active and each.base_version == trial.base_version), None)
    since = trial.trained_at.timestamp()
    one = _series(wearer, await models.readings(wearer, trial.trained_at - timedelta(seconds=preprocess.LOOKBACK_S)))
    places = _places(one)
    places = places[one.times_s[places] > since]
    rows, truth, times = _windows(one, places)
    met = np.isfinite(truth[:, HORIZONS_MINUTES.index(60)])
    if np.count_nonzero(met) < TRIAL_WINDOWS:
        return None
    said = await _said(preprocess.anybody(rows), inference, trial.base_version)
    outcome, metrics = personal.verdict(rows, truth, said[:, :, 1], times, force.vector if force else (), trial.vector)
    done = await models.end_trial(wearer, trial.number, outcome, metrics)
    return replace(trial, outcome=outcome, active=outcome == "deployed") if done else None


def _series(wearer: Wearer, found: Sequence[tuple[datetime, float]]) -> Series:
    times = np.array([time.timestamp() for time, _ in found], dtype=np.float64)
    values = np.array([value for _, value in found], dtype=np.float64)
    sound = (values >= preprocess.LOWEST) & (values <= preprocess.HIGHEST)
    return Series(wearer[0], times[sound], values[sound])


def _places(one: Series) -> preprocess.Places:
    places = series.strided(one.times_s, APART_MINUTES)
    return places[preprocess.enough(one.times_s, places)] if len(places) else places


def _windows(one: Series, places: preprocess.Places) -> tuple[preprocess.Rows, preprocess.Rows, preprocess.Floats]:
    """(rows, truth, times) of those of these windows that have a truth."""
    real = np.stack([series.truth(one, places, minutes) for minutes in HORIZONS_MINUTES], axis=1)
    known = np.isfinite(real).any(axis=1)
    places, truth = places[known], real[known].astype(np.float32)
    return preprocess.on_grid(one.times_s, one.glucose_mg_dl, one.times_s[places]), truth, one.times_s[places]


async def _fitted(one: Series, inference: Inference, version: str) -> personal.Fitted:
    places = _places(one)
    if len(places) < personal.LEAST_WINDOWS:
        return personal.Fitted("skipped: insufficient data", (), len(places), {})
    rows, truth, times = _windows(one, places)
    said = await _said(preprocess.anybody(rows), inference, version)
    return await asyncio.to_thread(personal.fit, rows, truth, said, times)


async def _by_the_clock(
    models: Models,
    wearer: Wearer,
    skipped: personal.Fitted,
    before: Sequence[WearerModel],
    version: str,
    now: datetime,
    one: Series,
) -> personal.Fitted:
    """Everybody's ends by the wearer's clock, told or learned, where nothing else but such is in force."""
    numbers, zone = everybody.measured(), await models.zone(wearer)
    force = next((each for each in before if each.active and each.base_version == version), None)
    if numbers.version != version or (force and len(force.vector) != preprocess.WITH_RANGES):
        return skipped
    ahead = _ahead(zone, now)
    if ahead is not None:
        vector, apart = everybody.vector(numbers, ahead.total_seconds()), SAME
        metrics = {TOLD: ahead.total_seconds() / 60}
    elif not (force and TOLD in force.metrics) and len(places := _places(one)) >= clocks.LEAST_WINDOWS:
        rows = await asyncio.to_thread(preprocess.on_grid, one.times_s, one.glucose_mg_dl, one.times_s[places])
        likely = clocks.likely(rows, one.times_s[places], numbers.day)
        vector, apart = everybody.vector_of(numbers, likely), NEARLY
        metrics = {"clock_likely_ahead_minutes": 60.0 * int(likely.argmax()), "clock_likely": float(likely.max())}
    else:
        return skipped
    if force and np.allclose(force.vector, vector, atol=apart):
        return skipped
    return personal.Fitted("on trial", vector, skipped.windows, metrics)


def _ahead(zone: str, now: datetime) -> timedelta | None:
    """How far a clock is ahead of UTC; None where its zone is not known."""
    try:
        return ZoneInfo(zone).utcoffset(now) if zone else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


async def _said(rows: preprocess.Rows, inference: Inference, version: str) -> preprocess.Rows:
    """What a version says to anybody in these windows, mg/dL [rows, horizons, 3]."""
    name, size = triton_name(CARD.name, version, False), CARD.serving.max_batch_size
    answers: Sequence[preprocess.Rows] = [
        (
            await inference.infer(
                name,
                {CARD.inputs[0].name: rows[start : start + size]},
                priority=PRIORITIES["routine"],
                deadline_s=inference.deadline_s(name),
            )
        )[CARD.outputs[0].name]
        for start in range(0, len(rows), size)
    ]
    return np.concatenate(answers)
