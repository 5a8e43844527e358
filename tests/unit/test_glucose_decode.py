"""A forecast says glucose by horizon and has no way to say anything else."""

import numpy as np
import pytest

from schemas.errors import StepFailed
from schemas.events import ForecastPoint
from schemas.findings import Finding
from triton_models.glucose.card import CARD, COVERAGE, HORIZONS_MINUTES
from triton_models.glucose.decode import decode


def served(count: int = 2) -> np.ndarray:
    """Rows of low, expected and high that widen with the horizon."""
    middle = np.linspace(120, 140, len(HORIZONS_MINUTES))
    half = np.linspace(10, 60, len(HORIZONS_MINUTES))
    return np.repeat(np.stack([middle - half, middle, middle + half], axis=1)[None], count, axis=0).astype(np.float32)


def test_a_row_becomes_points_in_the_order_of_the_cards_horizons() -> None:
    """GL6, GL9."""
    given = served()
    first, second = decode({"forecast": given}, CARD)
    assert first == second
    assert (first.label, first.score, first.threshold, first.probabilities) == ("forecast", 0.0, 0.0, {})
    assert not first.abstained
    assert [point.horizon_minutes for point in first.forecast] == list(HORIZONS_MINUTES)
    assert {30, 60, 120} <= set(HORIZONS_MINUTES)
    for point, (low, middle, high) in zip(first.forecast, given[0], strict=True):
        assert (point.low, point.glucose_mg_dl, point.high) == pytest.approx((low, middle, high), abs=0.051)
        assert point.coverage == COVERAGE


def test_no_rows_give_no_findings() -> None:
    assert decode({"forecast": served(0)}) == []


@pytest.mark.parametrize("spoilt", ["shape", "nan", "order"])
def test_what_is_no_forecast_is_a_failed_step(spoilt: str) -> None:
    given = served()
    if spoilt == "shape":
        given = given[:, :-1]
    elif spoilt == "nan":
        given[1, 0, 0] = np.nan
    else:
        given[1, 0] = given[1, 0, ::-1]
    with pytest.raises(StepFailed):
        decode({"forecast": given})


def test_a_forecast_cannot_express_a_diagnosis_a_dose_or_a_triage_decision() -> None:
    """GL14: the contract has glucose, time and certainty; a judgement has nowhere to stand."""
    assert set(CARD.labels) == {"forecast", "stale"}
    assert CARD.operating_point is None
    assert CARD.positive_label == ""
    assert set(ForecastPoint.__struct_fields__) == {"horizon_minutes", "glucose_mg_dl", "low", "high", "coverage"}
    (finding,) = decode({"forecast": served(1)})
    free = {name: getattr(finding, name) for name in Finding.__struct_fields__ if name != "forecast"}
    assert free == {
        "label": "forecast",
        "score": 0.0,
        "threshold": 0.0,
        "probabilities": {},
        "abstained": False,
        "reason": "",
        "regions": (),
        "heat": None,
    }
    values = [value for point in finding.forecast for value in (point.glucose_mg_dl, point.low, point.high)]
    assert all(isinstance(value, float) for value in values)


def test_the_notice_says_informational_only_and_not_medical_advice() -> None:
    """GL7, GL14: it travels with each answer."""
    notice = CARD.notice.lower()
    assert "informational only, not medical advice" in notice
    assert all(word in notice for word in ("diagnosis", "dose", "triage"))
