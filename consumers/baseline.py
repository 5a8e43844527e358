"""What is said when no model can: the newest reading stays, within the errors that this had on people held back."""

from collections.abc import Sequence

import numpy as np

from schemas.predictions import PredictedPoint

COVERAGE = 0.9
LOWEST, HIGHEST = 39.0, 501.0
# RMSE in mg/dL of persistence at 30, 60 and 120 minutes (`triton_models/glucose/MODEL.md`); beyond, by the square root.
MINUTES, RMSE = (0.0, 30.0, 60.0, 120.0), (0.0, 26.1, 40.5, 55.0)
NORMAL_90 = 1.645


def stays(newest_mg_dl: float, horizons_minutes: Sequence[int]) -> tuple[PredictedPoint, ...]:
    """Persistence with an interval meant to hold nine of ten, at these horizons."""
    return tuple(_point(newest_mg_dl, minutes) for minutes in horizons_minutes)


def _point(newest: float, minutes: int) -> PredictedPoint:
    beyond = max(1.0, minutes / MINUTES[-1]) ** 0.5
    half = NORMAL_90 * float(np.interp(minutes, MINUTES, RMSE)) * beyond
    return PredictedPoint(
        horizon_minutes=minutes,
        glucose_mg_dl=round(newest, 1),
        low=round(max(min(LOWEST, newest), newest - half), 1),
        high=round(min(max(HIGHEST, newest), newest + half), 1),
        coverage=COVERAGE,
        source="baseline",
    )
