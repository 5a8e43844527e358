"""Glycaemic metrics: sums kept by day, in any order of arrival, give exactly what one pass over all readings gives."""

from collections.abc import Sequence
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from adapters.database import DaySums, PlainReading
from consumers import glycaemia
from schemas.events import GlycaemicFigures

Windows = dict[tuple[date, int], GlycaemicFigures]
START_MS = glycaemia.start_ms(date(2026, 3, 28))

# Around midnight and around a month's length, where neighbours and windows begin and end.
minutes = st.one_of(
    st.integers(0, 3 * 1440),
    st.integers(-40, 40).map(lambda near: 1440 + near),
    st.integers(29 * 1440, 31 * 1440),
)
times = st.tuples(minutes, st.integers(0, 59_999)).map(lambda at: START_MS + at[0] * 60_000 + at[1])
values = st.integers(390, 4010).map(lambda tenths: tenths / 10)
# (time, value), or a deletion of the time.
changes = st.lists(st.tuples(times, st.one_of(st.none(), values)), min_size=1, max_size=60)


def in_force(changed: Sequence[tuple[int, float | None]]) -> list[PlainReading]:
    """What counts after these changes: the latest of a time, if it is no deletion."""
    last = dict(changed)
    return [PlainReading(time, value) for time, value in sorted(last.items()) if value is not None]


class Kept:
    """Metrics kept up in steps, as the database's transaction does: only what a change touches is computed anew."""

    def __init__(self) -> None:
        self.changed: list[tuple[int, float | None]] = []
        self.sums: dict[date, DaySums] = {}
        self.windows: Windows = {}
        self.revisions: dict[tuple[date, int], int] = {}

    def take(self, changed: Sequence[tuple[int, float | None]]) -> None:
        self.changed += changed
        reach = glycaemia.REACH_MS
        days = {glycaemia.day_of(time + by) for time, _ in changed for by in (-reach, 0, reach)}
        readings = in_force(self.changed)
        for day in days:
            first, last = glycaemia.start_ms(day) - reach, glycaemia.start_ms(day + timedelta(days=1)) + reach
            self.sums[day] = glycaemia.sums_of(day, [r for r in readings if first <= r.time_ms < last])
        for end, size in glycaemia.ends_touched(days, self.sums):
            found = glycaemia.figures(end, size, self.sums)
            if self.windows.get((end, size)) != found:
                self.windows[end, size] = found
                self.revisions[end, size] = self.revisions.get((end, size), 0) + 1


@given(changes, st.lists(st.integers(1, 20), min_size=1, max_size=10))
def test_metrics_kept_up_reading_by_reading_equal_those_of_all_readings_at_once(
    changed: list[tuple[int, float | None]], sizes: list[int]
) -> None:
    """GL3: late, repeated, corrected and deleted readings, in batches of any size."""
    kept, place = Kept(), 0
    while place < len(changed):
        size = sizes[place % len(sizes)]
        kept.take(changed[place : place + size])
        place += size
    readings = in_force(changed)
    everything = glycaemia.batch(readings)
    measured = {glycaemia.day_of(reading.time_ms) for reading in readings}
    assert {window: found for window, found in kept.windows.items() if window[0] in measured} == everything
    # A day that has lost all its readings keeps its windows, and they are true of what is left.
    sums = {day: glycaemia.sums_of(day, readings) for day in measured}
    for (end, size), found in kept.windows.items():
        assert found == glycaemia.figures(end, size, sums)


@given(changes)
def test_a_repeat_makes_no_revision(changed: list[tuple[int, float | None]]) -> None:
    """GL3: what is sent again changes nothing."""
    kept = Kept()
    kept.take(changed)
    before = dict(kept.revisions)
    kept.take([changed[-1]])
    assert kept.revisions == before


@given(st.lists(times, min_size=1, max_size=50, unique=True))
def test_no_moment_is_counted_twice(at: list[int]) -> None:
    """Minutes in ranges never exceed the time that there was, whatever sensors report at once."""
    readings = [PlainReading(time, 100.0) for time in sorted(at)]
    for (_, size), found in glycaemia.batch(readings).items():
        assert found.minutes.target <= size * 1440 + glycaemia.SENSORS_MS[-1] / 60_000
        assert found.sensor_active_percent <= 100.0
