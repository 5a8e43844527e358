"""Patterns in a wearer's readings: each found where it was put, and nothing found in even days."""

import math
from collections.abc import Callable
from datetime import date, timedelta

import pytest

from adapters.database import PlainReading
from adapters.database.readings import EPOCH
from consumers import glycaemia, patterns
from schemas.predictions import GlucosePattern
from tests.unit.test_predictions import WORDS

DAYS = 20
START = glycaemia.start_ms(date(2026, 3, 1))
STEP = 5 * glycaemia.MINUTE_MS
END = START + DAYS * glycaemia.DAY_MS


def wearer(change: Callable[[int, float, float], float | None] = lambda day, hour, mg_dl: mg_dl) -> list[PlainReading]:
    """Twenty days of a gentle wave, each reading passed through `change(day, hour, value)`."""
    found = []
    for time in range(START, END, STEP):
        day, hour = divmod(time - START, glycaemia.DAY_MS)
        value = change(day, hour / 3_600_000, 120 + 5 * math.sin(time / 1e7))
        if value is not None:
            found.append(PlainReading(time, value))
    return found


def found_in(readings: list[PlainReading]) -> list[GlucosePattern]:
    return patterns.find(readings, EPOCH + timedelta(milliseconds=END))


def test_even_days_show_nothing() -> None:
    assert found_in(wearer()) == []
    assert found_in([]) == []


@pytest.mark.parametrize(
    ("change", "kind", "count"),
    [
        (lambda day, hour, v: None if day == 9 and 3 <= hour < 5 else v, "gap", 1),
        (lambda day, hour, v: 52.0 if day == 9 and 2 <= hour < 2.3 else v, "compression_low", 1),
        (lambda day, hour, v: v + 40 if day >= DAYS - 3 else v, "sensor_drift", 1),
        (lambda day, hour, v: v + 90 if day == 9 else v, "unusual_day", 1),
        (lambda day, hour, v: v + 60 if 6 <= hour < 12 else v, "usually_higher", 1),
    ],
)
def test_a_pattern_is_found_where_it_was_put(
    change: Callable[[int, float, float], float | None], kind: str, count: int
) -> None:
    """GL18: flagged for review, as information."""
    found = [each for each in found_in(wearer(change)) if each.kind == kind]
    assert len(found) == count
    assert found[0].notice
    assert not [word for word in WORDS if word in found[0].says.lower()]


def test_a_low_by_day_or_one_that_lasts_is_no_compression() -> None:
    def by_day(day: int, hour: float, mg_dl: float) -> float:
        return 52.0 if day == 9 and 14 <= hour < 14.3 else mg_dl

    def lasting(day: int, hour: float, mg_dl: float) -> float:
        return 52.0 if day == 9 and 1 <= hour < 4 else mg_dl

    for change in (by_day, lasting):
        assert "compression_low" not in {each.kind for each in found_in(wearer(change))}


def test_the_present_gap_is_told() -> None:
    late = found_in(wearer(lambda day, hour, v: None if day == DAYS - 1 and hour >= 20 else v))
    assert [each.kind for each in late if each.kind == "gap"] == ["gap"]
