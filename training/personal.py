"""Fits a wearer's own vector from the wearer's readings and notes the outcome; when that is due, others decide."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np

from adapters.clock import Clock
from adapters.database import Wearer, WearerModel
from adapters.triton import PRIORITIES, Inference, triton_name
from triton_models import series
from triton_models.glucose import personal, preprocess
from triton_models.glucose.card import CARD, HORIZONS_MINUTES
from triton_models.series import Series

# Windows are ten minutes apart, of the last thirteen weeks.
APART_MINUTES = 10.0
SPAN = timedelta(weeks=13)
FEATURES = (
    "constant, with the time of day (UTC) by two harmonics",
    "level of the newest reading",
    "slope of the last 15 minutes",
    "slope of the 15 minutes before",
    "distance from the mean of the last hour",
    "distance from the mean of the three hours",
)


class Models(Protocol):
    """Where a wearer's readings are and attempts are noted; all raise DatabaseUnavailable."""

    async def of(self, wearer: Wearer) -> list[WearerModel]:
        """All attempts of a wearer, the newest first."""
        ...

    async def add(self, wearer: Wearer, made: WearerModel) -> bool:
        """Notes an attempt; False where somebody else noted one of that number first."""
        ...

    async def readings(self, wearer: Wearer, since: datetime) -> list[tuple[datetime, float]]:
        """(sensor time, mg/dL) in force, oldest first."""
        ...

    async def new_since(self, wearer: Wearer, after: datetime) -> int:
        """How many readings came in after a moment."""
        ...


EVER = datetime(1970, 1, 1, tzinfo=UTC)


async def is_due(models: Models, wearer: Wearer, version: str = CARD.version) -> bool:
    """Whether a wearer sent 100 readings since the last attempt, or the first 100, or another version serves since."""
    before = await models.of(wearer)
    if before and before[0].base_version != version:
        return True
    return await models.new_since(wearer, before[0].trained_at if before else EVER) >= personal.READINGS_BETWEEN_FITS


async def fit(
    models: Models, inference: Inference, clock: Clock, wearer: Wearer, version: str = CARD.version
) -> WearerModel | None:
    """Fits one wearer's vector to a version of the model and notes the attempt; one that lowered the wearer's error is
    active from then on, and given to that version alone.

    An earlier vector stays in force where the new one is not deployed. None where somebody else fitted the wearer
    meanwhile. Raises DatabaseUnavailable, and ServerDown or Overloaded when Triton does not say what everybody is told.
    """
    now = clock.now()
    number = 1 + max((each.number for each in await models.of(wearer)), default=0)
    found = await models.readings(wearer, now - SPAN)
    times = np.array([time.timestamp() for time, _ in found], dtype=np.float64)
    values = np.array([value for _, value in found], dtype=np.float64)
    sound = (values >= preprocess.LOWEST) & (values <= preprocess.HIGHEST)
    one = Series(wearer[0], times[sound], values[sound])
    fitted = await _fitted(one, inference, version)
    made = WearerModel(
        number=number,
        version=f"{version.partition('.')[0]}.{number}.0",
        base_version=version,
        outcome=fitted.outcome,
        active=fitted.outcome == "deployed",
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
        },
        metrics={"windows": fitted.windows, **fitted.metrics},
    )
    return made if await models.add(wearer, made) else None


async def _fitted(one: Series, inference: Inference, version: str) -> personal.Fitted:
    places = series.strided(one.times_s, APART_MINUTES)
    if len(places):
        places = places[preprocess.enough(one.times_s, places)]
    if len(places) < personal.LEAST_WINDOWS:
        return personal.Fitted("skipped: insufficient data", (), len(places), {})
    real = np.stack([series.truth(one, places, minutes) for minutes in HORIZONS_MINUTES], axis=1)
    known = np.isfinite(real).any(axis=1)
    places, truth = places[known], real[known].astype(np.float32)
    rows = preprocess.on_grid(one.times_s, one.glucose_mg_dl, one.times_s[places])
    expected = await _expected(preprocess.anybody(rows), inference, version)
    return await asyncio.to_thread(personal.fit, rows, truth, expected, one.times_s[places])


async def _expected(rows: preprocess.Rows, inference: Inference, version: str) -> preprocess.Rows:
    """What a version expects of anybody in these windows, mg/dL [rows, horizons]."""
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
    return np.concatenate(answers)[:, :, 1]
