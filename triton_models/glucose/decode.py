"""From the served numbers to findings: glucose values by horizon and nothing else; no threshold, no judgement."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.card import ModelCard
from schemas.errors import StepFailed
from schemas.events import ForecastPoint
from schemas.findings import Finding
from triton_models.glucose.card import CARD, COVERAGE

LABEL = "forecast"


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
