"""Glycaemic metrics on small days that can be worked out by hand."""

from datetime import date

import pytest

from adapters.database import PlainReading
from consumers import glycaemia
from consumers.glycaemia import MINUTE_MS, stands_for_ms

DAY = date(2026, 4, 1)
START = glycaemia.start_ms(DAY)


def day(every_minutes: int, *values: float, first: int = 0) -> list[PlainReading]:
    """Readings of a day at an even distance."""
    return [PlainReading(START + (first + place * every_minutes) * MINUTE_MS, v) for place, v in enumerate(values)]


@pytest.mark.parametrize(
    ("before", "after", "minutes"),
    [
        (5, 5, 5),
        (1, 1, 1),
        (15, 15, 15),
        (5, None, 5),
        (None, None, 5),
        (5, 10, 5),
        (60, 60, 5),
        (None, 15, 15),
        (3, 2, 2),
        (2, 3, 3),
    ],
)
def test_a_reading_stands_for_one_interval_of_its_sensor_or_until_the_next(
    before: int | None, after: int | None, minutes: int
) -> None:
    """A missed reading is a gap, and two sensors of one wearer share the time between them."""
    gaps = [gap * MINUTE_MS if gap is not None else None for gap in (before, after)]
    assert stands_for_ms(*gaps) == minutes * MINUTE_MS


def test_minutes_and_not_readings_are_counted() -> None:
    """GL3: an hour of a 1-minute sensor high and an hour of a 15-minute one in target are half and half."""
    readings = [*day(1, *[300.0] * 60), *day(15, *[100.0] * 4, first=75)]
    found = glycaemia.batch(readings)[DAY, 1]
    assert (found.minutes.very_high, found.minutes.target) == (60.0, 60.0)
    assert (found.percent.very_high, found.percent.target) == (50.0, 50.0)
    assert found.mean_mg_dl == 200.0
    assert found.gmi_percent == round(3.31 + 0.02392 * 200, 1)
    assert found.cv_percent == 50.0
    assert found.sensor_active_percent == round(100 * 120 / 1440, 2)
    assert (found.readings, found.days_of_wear, found.representative) == (64, 1, False)


@pytest.mark.parametrize(
    ("mg_dl", "name"),
    [
        (53.4, "very_low"),
        (54.0, "low"),
        (69.4, "low"),
        (70.3, "target"),  # 3.9 mmol/L
        (180.2, "target"),  # 10.0 mmol/L
        (182.0, "high"),  # 10.1 mmol/L
        (250.4, "high"),  # 13.9 mmol/L
        (252.2, "very_high"),  # 14.0 mmol/L
    ],
)
def test_ranges_hold_what_devices_show_in_either_unit(mg_dl: float, name: str) -> None:
    found = glycaemia.batch(day(5, mg_dl, mg_dl))[DAY, 1]
    assert getattr(found.percent, name) == 100.0


def test_a_bound_is_counted_as_one_and_as_its_limit() -> None:
    """GL3: a clipped reading is stated, not hidden."""
    found = glycaemia.batch([PlainReading(START, 400.0, "high"), PlainReading(START + 5 * MINUTE_MS, 400.0, "high")])
    assert found[DAY, 1].clipped == 2
    assert found[DAY, 1].mean_mg_dl == 400.0


def test_a_window_of_a_day_without_readings_says_so() -> None:
    empty = glycaemia.figures(DAY, 7, {})
    assert empty.readings == 0
    assert empty.mean_mg_dl is None
