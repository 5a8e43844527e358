"""A wearer's readings become the same row whatever their order, repeats and distant past; gaps stay gaps."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import OutOfRange, TooFewYet
from schemas.windows import GlucoseWindow
from triton_models.glucose import preprocess
from triton_models.glucose.preprocess import prepare, prepare_many

NEWEST_S = 1_700_000_000.0


def window(ages_minutes: list[float], values: list[float] | None = None) -> GlucoseWindow:
    """Readings so many minutes before the newest, given from the newest; oldest first as the stream hands them over."""
    level = values or [100.0 + age for age in ages_minutes]
    return GlucoseWindow([NEWEST_S - 60 * age for age in ages_minutes][::-1], level[::-1])


EVERY_5 = [5.0 * slot for slot in range(40)]


@st.composite
def windows(draw: st.DrawFn) -> GlucoseWindow:
    """Windows that `prepare` accepts: irregular times, gaps, plausible values."""
    gaps = draw(st.lists(st.floats(1, 60), min_size=0, max_size=40))
    ages = [0.0, 5.0, 10.0]
    for gap in gaps:
        ages.append(ages[-1] + gap)
    values = draw(st.lists(st.floats(39, 501), min_size=len(ages), max_size=len(ages)))
    return window(ages, values)


def grid(given: GlucoseWindow) -> preprocess.Rows:
    """The slots of a row, without the wearer's vector."""
    return prepare(given)[: preprocess.SLOTS]


def test_readings_every_five_minutes_fall_into_their_slots() -> None:
    row = grid(window(EVERY_5))
    assert row.dtype == np.float32
    np.testing.assert_allclose(row, 100 + 5 * np.arange(36))


def test_a_sensor_that_reports_every_quarter_of_an_hour_is_interpolated() -> None:
    row = grid(window([15.0 * slot for slot in range(14)]))
    np.testing.assert_allclose(row, 100 + 5 * np.arange(36), rtol=1e-6)


def test_a_gap_stays_open_and_touches_nothing_else() -> None:
    """GL3: nothing is invented across a gap of more than twenty minutes."""
    whole, gapped = grid(window(EVERY_5)), grid(window([age for age in EVERY_5 if not 30 <= age <= 60]))
    assert np.isnan(gapped[6:13]).all()
    kept = np.r_[0:6, 13:36]
    np.testing.assert_array_equal(gapped[kept], whole[kept])


@given(windows(), st.randoms())
@settings(max_examples=60, deadline=None)
def test_order_and_repeats_change_nothing(given: GlucoseWindow, random: object) -> None:
    """GL3: windows are sets by time."""
    pairs = list(zip(given.times_s, given.glucose_mg_dl, strict=True))
    mixed = pairs + pairs[::2]
    random.shuffle(mixed)  # type: ignore[attr-defined]
    again = GlucoseWindow([time for time, _ in mixed], [value for _, value in mixed])
    np.testing.assert_array_equal(prepare(again), prepare(given))


@given(windows(), st.integers(-10_000_000, 10_000_000))
@settings(max_examples=40, deadline=None)
def test_only_distances_in_time_count(given: GlucoseWindow, shift: int) -> None:
    """Local and UTC clocks give the same row."""
    moved = replace(given, times_s=[time + shift for time in given.times_s])
    np.testing.assert_allclose(grid(moved), grid(given), rtol=1e-5)


@given(windows(), st.lists(st.floats(39, 501), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_readings_older_than_the_lookback_change_nothing(given: GlucoseWindow, older: list[float]) -> None:
    start = NEWEST_S - preprocess.LOOKBACK_S - 1
    known = [pair for pair in zip(given.times_s, given.glucose_mg_dl, strict=True) if pair[0] > start]
    times = [start - 60.0 * (len(older) - place) for place in range(len(older))] + [time for time, _ in known]
    values = [*older, *(value for _, value in known)]
    alone = GlucoseWindow([time for time, _ in known], [value for _, value in known])
    np.testing.assert_array_equal(prepare(GlucoseWindow(times, values)), prepare(alone))


@given(st.lists(windows(), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_a_window_gets_the_same_row_among_any_neighbours(given: list[GlucoseWindow]) -> None:
    """GL2: no wearer's row depends on another's."""
    rows, refused = prepare_many(given)
    assert not refused
    np.testing.assert_array_equal(rows, np.stack([prepare(one) for one in given]))


@given(windows())
@settings(max_examples=60, deadline=None)
def test_a_row_never_leaves_the_range_of_its_readings(given: GlucoseWindow) -> None:
    row = grid(given)
    known = row[np.isfinite(row)]
    assert row[0] == np.float32(given.glucose_mg_dl[-1])
    assert known.min() >= min(given.glucose_mg_dl) - 1e-3
    assert known.max() <= max(given.glucose_mg_dl) + 1e-3


@pytest.mark.parametrize("value", [5.5, 0.0, -3.0, 700.0, math.nan, math.inf])
def test_an_implausible_newest_reading_is_refused_with_its_reason_and_without_its_value(value: float) -> None:
    """GL3: mmol/L taken for mg/dL never becomes a forecast."""
    with pytest.raises(OutOfRange, match="20 to 600 mg/dL") as refused:
        prepare(window(EVERY_5, [value] + [120.0] * 39))
    assert f"{value:g}" not in str(refused.value).replace("20 to 600", "")


def test_an_implausible_earlier_reading_counts_as_not_there() -> None:
    values = [120.0] * 40
    odd = list(values)
    odd[3] = 6.7
    np.testing.assert_array_equal(prepare(window(EVERY_5, odd)), prepare(window(EVERY_5, values)))


@pytest.mark.parametrize("ages", [[0.0], [0.0, 5.0], [0.0, 1.0, 2.0, 3.0], [0.0, 61.0, 62.0, 63.0], [0.0, 5.0, 61.0]])
def test_too_few_recent_readings_are_refused_with_the_minimum(ages: list[float]) -> None:
    """GL4: a stated minimum."""
    with pytest.raises(TooFewYet, match="needs 3 readings over 10 minutes or more within the hour"):
        prepare(window(ages))


@pytest.mark.parametrize("broken", [GlucoseWindow([], []), GlucoseWindow([NEWEST_S], [])])
def test_a_window_without_readings_is_refused(broken: GlucoseWindow) -> None:
    with pytest.raises(OutOfRange, match="needs readings"):
        prepare(broken)


def test_one_refused_window_does_not_harm_its_neighbours() -> None:
    rows, refused = prepare_many([window(EVERY_5), window([0.0]), GlucoseWindow([], []), window(EVERY_5)])
    assert sorted(refused) == [1, 2]
    assert np.isnan(rows[[1, 2], : preprocess.SLOTS]).all()
    np.testing.assert_array_equal(rows[0], rows[3])
    np.testing.assert_array_equal(rows[0], prepare(window(EVERY_5)))


def test_no_windows_give_no_rows() -> None:
    rows, refused = prepare_many([])
    assert rows.shape == (0, preprocess.WIDTH)
    assert not refused
