"""From the served numbers to findings: glucose values by horizon and nothing else; no threshold, no judgement."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import structs

from schemas.card import ModelCard
from schemas.errors import StepFailed
from schemas.events import ForecastPoint
from schemas.findings import Finding
from schemas.windows import GlucoseWindow
from triton_models.glucose import personal
from triton_models.glucose.card import CARD, COVERAGE
from triton_models.glucose.preprocess import WITH_ENDS, WITH_RANGES

LABEL = "forecast"
# As the graph keeps its answers.
LOWEST, HIGHEST = 39.0, 501.0


def decode(outputs: Mapping[str, npt.NDArray[Any]], card: ModelCard = CARD) -> Sequence[Finding]:
    """One Finding a row of `forecast` (rows, horizons, 3): low, expected and high in mg/dL, to a tenth.

    A finding holds the card's horizons and the label `forecast`, and has no room for a diagnosis, a dose or a triage
    decision. Raises StepFailed where a row is not such a forecast: then what is served is not what the card describes.
    """
    served = np.asarray(outputs[card.outputs[0].name], dtype=np.float64)
    horizons = card.horizons_minutes
    if served.ndim != 3 or served.shape[1:] != (len(horizons), 3):
        raise StepFailed(f"{card.name} answers {served.shape}, not rows of {len(horizons)} times low, expected, high")
    if not (np.isfinite(served).all() and (np.diff(served, axis=2) >= 0).all()):
        raise StepFailed(f"{card.name} answers numbers that are no intervals")
    return [_finding(row, horizons) for row in served.round(1).tolist()]


def own(finding: Finding, window: GlucoseWindow) -> Finding:
    """The finding with the ends of its interval as they were fitted to the wearer for the time of day.

    The expected value stays, and has been moved by the graph already.
    """
    if len(window.vector) not in {WITH_ENDS, WITH_RANGES} or not finding.forecast:
        return finding
    at = np.array(window.times_s[-1:], dtype=np.float64)
    below, above = personal.ends(window.vector, at, window.glucose_mg_dl[-1:])[0].tolist()

    def moved(point: ForecastPoint) -> ForecastPoint:
        middle = point.glucose_mg_dl
        low = max(min(LOWEST, middle), middle - (middle - point.low) * below)
        high = min(max(HIGHEST, middle), middle + (point.high - middle) * above)
        return structs.replace(point, low=round(low, 1), high=round(high, 1))

    return structs.replace(finding, forecast=tuple(moved(point) for point in finding.forecast))


def _finding(row: Sequence[Sequence[float]], horizons: Sequence[int]) -> Finding:
    return Finding(
        label=LABEL,
        score=0.0,
        threshold=0.0,
        probabilities={},
        abstained=False,
        forecast=tuple(
            ForecastPoint(horizon_minutes=minutes, glucose_mg_dl=expected, low=low, high=high, coverage=COVERAGE)
            for minutes, (low, expected, high) in zip(horizons, row, strict=True)
        ),
    )
