"""A wearer's own vector: when it is fitted, when it is refused, and that it is put into the row that Triton sees."""

import numpy as np
import pytest

from schemas.windows import GlucoseWindow
from triton_models.glucose import personal
from triton_models.glucose.card import HORIZONS_MINUTES
from triton_models.glucose.preprocess import PERSONAL, SLOTS, VECTOR, WIDTH, prepare, prepare_many

MINE = np.linspace(-0.3, 0.4, VECTOR)


def windows(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, what everybody is told, and the times, ten minutes apart."""
    rng = np.random.default_rng(seed)
    rows = (150 + np.cumsum(rng.normal(0, 4, (count, SLOTS)), axis=1)).astype(np.float32)
    expected = np.repeat(rows[:, :1], len(HORIZONS_MINUTES), axis=1)
    return rows, expected, 1.7e9 + 600.0 * np.arange(count)


def test_what_a_wearer_does_differently_is_found_and_deployed() -> None:
    """GL2, GL23: truth that follows a vector gives that vector back, and its error falls."""
    rows, expected, times = windows(3000)
    noise = np.random.default_rng(1).normal(0, 5, expected.shape)
    truth = (expected + personal.correction(rows, MINE, times) + noise).astype(np.float32)
    truth[::7, 3] = np.nan
    found = personal.fit(rows, truth, expected, times)
    assert found.outcome == "deployed"
    assert found.metrics["rmse_60_after"] < found.metrics["rmse_60_before"]
    bent, mine = personal.correction(rows, found.vector, times), personal.correction(rows, MINE, times)
    assert np.abs(bent - mine).mean() < 0.4 * np.abs(mine).mean()


def test_what_is_like_everybody_is_rejected_and_leaves_no_vector() -> None:
    """GL13, GL23: nothing but noise to learn."""
    rows, expected, times = windows(800)
    truth = (expected + np.random.default_rng(2).normal(0, 20, expected.shape)).astype(np.float32)
    found = personal.fit(rows, truth, expected, times)
    assert (found.outcome, found.vector) == ("rejected: no improvement", ())
    assert found.metrics["gain"] < personal.LEAST_GAIN


def test_habits_that_ended_are_rejected() -> None:
    """GL4, GL13: the last fifth judges, not the time that was fitted on."""
    rows, expected, times = windows(2000)
    bent = personal.correction(rows, MINE, times)
    bent[1500:] *= -1
    found = personal.fit(rows, (expected + bent).astype(np.float32), expected, times)
    assert found.outcome == "rejected: no improvement"


def test_too_few_windows_are_skipped() -> None:
    """GL4, GL23: one less than the least."""
    rows, expected, times = windows(personal.LEAST_WINDOWS - 1)
    found = personal.fit(rows, expected, expected, times)
    assert (found.outcome, found.vector) == ("skipped: insufficient data", ())


@pytest.mark.parametrize("vector", [(), tuple(MINE.tolist())])
def test_the_row_holds_the_vector_as_of_the_newest_reading(vector: tuple[float, ...]) -> None:
    """GL2: zeros without one; with one the clock's part is put in, and neighbours in a batch keep their own."""
    times = [1.7e9 + 300.0 * place for place in range(40)]
    mine = GlucoseWindow(times, [100.0 + place for place in range(40)], vector)
    nobody = GlucoseWindow(times, [120.0] * 40)
    rows, refused = prepare_many([nobody, mine, nobody])
    assert not refused
    assert rows.shape == (3, WIDTH)
    assert not rows[[0, 2], SLOTS:].any()
    np.testing.assert_array_equal(rows[1], prepare(mine))
    turn = 2 * np.pi * (times[-1] % 86_400) / 86_400
    clock = [np.sin(turn), np.cos(turn), np.sin(2 * turn), np.cos(2 * turn)]
    wanted = np.zeros(PERSONAL)
    if vector:
        wanted = np.concatenate([MINE[:6], MINE[10:16]])
        wanted[0] += np.dot(clock, MINE[6:10])
        wanted[6] += np.dot(clock, MINE[16:])
    np.testing.assert_allclose(rows[1, SLOTS:], wanted, atol=1e-5)
