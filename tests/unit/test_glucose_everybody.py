"""Everybody's ends of the interval by the hour of the clock and the range: how they are measured and applied (GL6)."""

import numpy as np
import pytest

from schemas.windows import GlucoseWindow
from triton_models.glucose import clock, everybody, everybody_measured, personal
from triton_models.glucose.card import CARD, HORIZONS_MINUTES
from triton_models.glucose.decode import decode, own
from triton_models.glucose.everybody import Measured
from triton_models.glucose.everybody_measured import measure
from triton_models.glucose.preprocess import PERSONAL, SLOTS, TIMES_OF_DAY, WITH_RANGES, prepare

TWICE_AT_NIGHT = Measured(CARD.version, ((2.0,) + (1.0,) * 7, (1.0,) * 8), ((1.0, 1.0, 1.0, 1.0), (3.0, 1.0, 1.0, 0.5)))


def test_the_committed_numbers_are_of_the_served_version_and_near_one() -> None:
    """GL6: a network of another version needs other numbers."""
    found = everybody.measured()
    assert found.version == CARD.version
    assert [len(end) for end in (*found.hours, *found.ranges)] == [TIMES_OF_DAY] * 2 + [4] * 2
    assert all(0.5 < factor < 2 for end in (*found.hours, *found.ranges) for factor in end)


def test_nine_of_ten_are_held_at_every_hour_and_in_every_range_of_people_who_were_not_measured() -> None:
    """GL6: calm nights, wild highs; the factors of some people hold for others like them."""

    def people(seed: int) -> tuple[np.ndarray, ...]:
        rng, count = np.random.default_rng(seed), 30_000
        rows = np.repeat(rng.uniform(50, 330, (count, 1)), SLOTS, axis=1).astype(np.float32)
        times = 1.7e9 + 600.0 * np.arange(count)
        night = times % 86_400 / 3600 < 6
        spread = np.where(night, 9.0, 13.0) * np.where(rows[:, 0] > 250, 1.3, 1.0)
        expected = np.repeat(rows[:, :1], len(HORIZONS_MINUTES), axis=1)
        truth = expected + rng.normal(0, 1, expected.shape) * spread[:, None]
        said = np.stack([expected - 20, expected, expected + 20], axis=2)
        return rows, truth.astype(np.float32), said, times, (np.arange(count) % 7).astype(np.float64)

    found = measure(*people(1))
    rows, truth, said, times, _ = people(2)
    factors = personal.ends(everybody.vector(found, 0.0), times, rows[:, 0])
    told = personal.shifted(said, np.zeros(truth.shape), factors)
    inside = (truth >= told[:, :, 0]) & (truth <= told[:, :, 2])
    hours = times % 86_400 / 3600
    groups = [(hours >= start) & (hours < start + 3) for start in range(0, 24, 3)]
    groups += [(rows[:, 0] >= low) & (rows[:, 0] < high) for low, high in ((0, 70), (70, 180), (180, 250), (250, 999))]
    for group in groups:
        assert abs(inside[group].mean() - 0.9) < 0.02


@pytest.mark.parametrize(("glucose", "low", "high"), [(60.0, 39.0, 120.0), (120.0, 80.0, 140.0), (300.0, 260.0, 310.0)])
def test_a_finding_gets_the_ends_of_its_hour_and_range_and_keeps_its_middle(
    glucose: float, low: float, high: float
) -> None:
    """GL6: half past one at night; the row that the network sees is that of anybody."""
    vector = everybody.vector(TWICE_AT_NIGHT, 0.0)
    assert len(vector) == WITH_RANGES
    (told,) = decode({"forecast": np.array([[[glucose - 20, glucose, glucose + 20]] * len(HORIZONS_MINUTES)])})
    times = [86_400 * 20_000 + 5400.0 - 300 * place for place in reversed(range(36))]
    window = GlucoseWindow(times, [glucose] * 36, vector)
    point = own(told, window).forecast[-1]
    assert (point.low, point.glucose_mg_dl, point.high) == (low, glucose, high)
    assert not prepare(window)[-PERSONAL:].any()


def lived(ahead_h: float, days: float, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Rows and times (UTC) of somebody whose clock is so far ahead: calm from one to eight, restless else."""
    rng = np.random.default_rng(seed)
    times = 1.7e9 // 86_400 * 86_400 + 600.0 * np.arange(int(days * 144))
    hour = (times / 3600 + ahead_h) % 24
    steps = rng.normal(0, 1, (len(times), SLOTS)) * np.where((hour >= 1) & (hour < 8), 1.5, 7.0)[:, None]
    return (140 + np.cumsum(steps, axis=1)).astype(np.float32), times


@pytest.mark.parametrize("ahead", [0, 9, 19])
def test_a_clock_that_nobody_told_is_learned_from_calm_nights_and_not_from_half_a_day(ahead: int) -> None:
    """GL6: three days are enough to know it but for an hour or two; until then nothing is pretended."""
    day = everybody.measured().day
    likely = clock.likely(*lived(ahead, 3.0), day)
    assert likely.sum() == pytest.approx(1.0)
    off = abs((int(likely.argmax()) - ahead + 12) % 24 - 12)
    assert off <= 2
    np.testing.assert_allclose(clock.likely(*lived(ahead, 0.5), day), 1 / 24)


def test_ends_of_a_clock_that_is_likely_are_the_mean_of_those_that_it_may_show() -> None:
    """GL6: certain, it is that clock's; of two alike the middle; always a vector as every other first one."""
    found = everybody.measured()
    certain, two = np.eye(24)[5], (np.eye(24)[5] + np.eye(24)[6]) / 2
    np.testing.assert_allclose(everybody.vector_of(found, certain), everybody.vector(found, 5 * 3600.0), atol=2e-5)
    middle = [(a + b) / 2 for a, b in zip(*(everybody.vector(found, h * 3600.0) for h in (5, 6)), strict=True)]
    np.testing.assert_allclose(everybody.vector_of(found, two), middle, atol=2e-5)
    assert len(everybody.vector_of(found, np.full(24, 1 / 24))) == WITH_RANGES


def test_the_usual_day_is_the_mean_of_peoples_days_by_their_clocks() -> None:
    """GL6: each person weighs the same, however long the record."""
    calm = everybody_measured.usual_day([lived(0, 8.0), lived(0, 1.5, seed=4)])
    assert (len(calm), {len(figure) for figure in calm}) == (5, {24})
    nights, days = np.mean(np.array(calm)[:3, 2:8]), np.mean(np.array(calm)[:3, 9:])
    assert nights < -0.5 < 0 < days
