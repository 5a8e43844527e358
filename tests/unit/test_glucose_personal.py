"""A wearer's own vector: when it is fitted, when it is refused, and that it is put into the row that Triton sees."""

import numpy as np
import pytest

from schemas.windows import GlucoseWindow
from triton_models.glucose import personal
from triton_models.glucose.card import HORIZONS_MINUTES
from triton_models.glucose.decode import decode, own
from triton_models.glucose.preprocess import PERSONAL, SLOTS, VECTOR, WIDTH, WITH_ENDS, prepare, prepare_many

MINE = np.linspace(-0.3, 0.4, VECTOR)


def windows(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, what everybody is told, and the times, ten minutes apart."""
    rng = np.random.default_rng(seed)
    rows = (150 + np.cumsum(rng.normal(0, 4, (count, SLOTS)), axis=1)).astype(np.float32)
    expected = np.repeat(rows[:, :1], len(HORIZONS_MINUTES), axis=1)
    return rows, expected, 1.7e9 + 600.0 * np.arange(count)


def around(expected: np.ndarray, half: float = 20.0) -> np.ndarray:
    """What everybody is told, with an interval."""
    return np.stack([expected - half, expected, expected + half], axis=2)


def test_what_a_wearer_does_differently_is_found_and_goes_on_trial() -> None:
    """GL2, GL23: truth that follows a vector gives that vector back, and its error falls."""
    rows, expected, times = windows(3000)
    noise = np.random.default_rng(1).normal(0, 5, expected.shape)
    truth = (expected + personal.correction(rows, MINE, times) + noise).astype(np.float32)
    truth[::7, 3] = np.nan
    found = personal.fit(rows, truth, around(expected), times)
    assert found.outcome == "on trial"
    assert found.metrics["rmse_60_after"] < found.metrics["rmse_60_before"]
    bent, mine = personal.correction(rows, found.vector, times), personal.correction(rows, MINE, times)
    assert np.abs(bent - mine).mean() < 0.4 * np.abs(mine).mean()


def test_what_is_like_everybody_is_rejected_and_leaves_no_vector() -> None:
    """GL13, GL23: nothing but noise to learn."""
    rows, expected, times = windows(800)
    truth = (expected + np.random.default_rng(2).normal(0, 20, expected.shape)).astype(np.float32)
    found = personal.fit(rows, truth, around(expected, 32.9), times)
    assert (found.outcome, found.vector) == ("rejected: no improvement", ())
    assert found.metrics["gain"] < personal.LEAST_GAIN


def test_habits_that_ended_are_rejected() -> None:
    """GL4, GL13: the last fifth judges, not the time that was fitted on."""
    rows, expected, times = windows(2000)
    bent = personal.correction(rows, MINE, times)
    bent[1500:] *= -1
    found = personal.fit(rows, (expected + bent).astype(np.float32), around(expected), times)
    assert found.metrics["gain"] < personal.LEAST_GAIN
    assert not any(found.vector[:VECTOR]), "nothing is bent; that the interval was too wide for the wearer still holds"


def test_too_few_windows_are_skipped() -> None:
    """GL4, GL23: one less than the least."""
    rows, expected, times = windows(personal.LEAST_WINDOWS - 1)
    found = personal.fit(rows, expected, around(expected), times)
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


def test_the_ends_hold_a_twentieth_beyond_each_at_every_time_of_day() -> None:
    """GL6: calm nights and wild days of one wearer, whom the same interval fits at no hour."""
    rows, expected, times = windows(12_000)
    spread = np.where(times % 86_400 < 43_200, 9.0, 18.0)[:, None]
    noise = np.random.default_rng(3).normal(0, 1, expected.shape) * spread
    truth = (expected + personal.correction(rows, MINE, times) + noise).astype(np.float32)
    half = len(rows) // 2
    found = personal.fit(rows[:half], truth[:half], around(expected)[:half], times[:half])
    assert len(found.vector) == WITH_ENDS
    late, factors = slice(half, None), personal.ends(found.vector, times[half:])
    middle = expected[late] + personal.correction(rows[late], found.vector, times[late])
    inside = (truth[late] >= middle - 20 * factors[:, :1]) & (truth[late] <= middle + 20 * factors[:, 1:])
    hours = times[late] % 86_400 / 3600
    for start, everybodys in ((2, 0.94), (14, 0.73)):
        here = (hours >= start) & (hours < start + 8)
        assert abs(inside[here].mean() - 0.9) < 0.03
        assert abs((np.abs(truth[late] - middle)[here] <= 20).mean() - everybodys) < 0.03
    assert (personal.ends(found.vector[:VECTOR], times) == 1).all(), "an earlier vector leaves the ends as they were"


def test_a_calm_time_between_wild_ones_keeps_no_wider_an_interval_than_it_needs() -> None:
    """GL6: the ends go over evenly between times of day, and hold nine of ten as they are applied."""
    rows, expected, times = windows(24_000)
    hours = times % 86_400 / 3600
    spread = np.where((hours >= 3) & (hours < 6), 9.0, 14.0)[:, None]
    noise = np.random.default_rng(4).normal(0, 1, expected.shape) * spread
    truth, half = (expected + noise).astype(np.float32), len(rows) // 2
    found = personal.fit(rows[:half], truth[:half], around(expected)[:half], times[:half])
    late, factors = slice(half, None), personal.ends(found.vector, times[half:])
    inside = np.abs(truth[late] - expected[late]) <= 20 * factors[:, 1:]
    for start in range(0, 24, 3):
        here = (hours[late] >= start) & (hours[late] < start + 3)
        assert abs(inside[here].mean() - 0.9) < 0.02, start


def test_a_finding_gets_the_wearers_own_ends_and_keeps_its_middle() -> None:
    """GL6: within what sensors report, and nothing is moved for whoever has no such numbers."""
    served = {"forecast": np.array([[[100.0, 150.0, 250.0]] * 8, [[42.0, 45.0, 480.0]] * 8])}
    found = decode(served)
    factors = (*MINE.tolist(), *([0.5] * 8), *([1.5] * 8))
    for vector in ((), tuple(MINE.tolist())):
        assert own(found[0], GlucoseWindow([0.0], [150.0], vector)) == found[0]
    point = own(found[0], GlucoseWindow([0.0], [150.0], factors)).forecast[0]
    assert (point.low, point.glucose_mg_dl, point.high) == (125.0, 150.0, 300.0)
    point = own(found[1], GlucoseWindow([0.0], [150.0], factors)).forecast[0]
    assert (point.low, point.high) == (43.5, 501.0)
