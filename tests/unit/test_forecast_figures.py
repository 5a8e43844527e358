"""Figures of forecasts against plain arithmetic; intervals count people."""

from pathlib import Path

import numpy as np
import pytest

from triton_models import forecasts, linear

TRUTH = np.array([100.0, 120.0, np.nan, 140.0])
SAID = np.array([110.0, 120.0, 500.0, 120.0])
PEOPLE = np.array([0, 0, 1, 1])


def test_values_equal_plain_arithmetic_over_the_windows_with_truth() -> None:
    """GL5."""
    assert forecasts.rmse(TRUTH, SAID, PEOPLE)[0] == pytest.approx(np.sqrt(500 / 3))
    assert forecasts.mae(TRUTH, SAID, PEOPLE)[0] == pytest.approx(10.0)
    assert forecasts.r2(TRUTH, SAID, PEOPLE)[0] == pytest.approx(1 - 500 / 800)
    assert forecasts.ratio(TRUTH, SAID, TRUTH + 20, PEOPLE)[0] == pytest.approx(np.sqrt(500 / 1200))
    assert forecasts.coverage(TRUTH, SAID - 10, SAID + 10, PEOPLE)[0] == pytest.approx(2 / 3)


def test_an_interval_counts_people_not_windows() -> None:
    """CC31: a thousand windows of two unlike people are two observations."""
    truth, said = np.zeros(2000), np.repeat([1.0, 3.0], 1000)
    value, low, high = forecasts.mae(truth, said, np.repeat([0, 1], 1000))
    assert (value, low, high) == pytest.approx((2.0, 1.0, 3.0))
    _, low, high = forecasts.mae(truth, said, np.zeros(2000))
    assert np.isnan([low, high]).all()


def test_nothing_known_is_not_a_number() -> None:
    assert np.isnan(forecasts.rmse([np.nan], [1.0], [0])).all()


def test_the_linear_baseline_is_least_squares_and_survives_its_file(tmp_path: Path) -> None:
    """GL1."""
    rng = np.random.default_rng(1)
    rows = rng.normal(150, 30, (500, 36)).astype(np.float32)
    truth = np.stack([2 * rows[:, 0] - rows[:, 1] + 3, rows[:, 11]], axis=1)
    fitted = linear.fit(rows, truth, (30, 60))
    fitted.save(tmp_path)
    again = linear.load(tmp_path)
    np.testing.assert_allclose(again.forecast(rows), truth, atol=0.05)
    rows[:, 1] = np.nan
    np.testing.assert_allclose(again.forecast(rows)[:, 0], rows[:, 0] + 3, atol=0.05)
