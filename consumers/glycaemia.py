"""Glycaemic metrics as arithmetic: minutes that a reading stands for, sums of a day, figures of a window; no database.

All sums are whole numbers (milliseconds, tenths of mg/dL), so that adding days up in any order gives exactly what one
pass over all readings gives. Values are compared with the ranges as whole mg/dL, as devices show them: 10.0 mmol/L
(180.2 mg/dL) is in target.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

from adapters.database import DaySums, PlainReading
from adapters.database.readings import EPOCH
from schemas.events import GlycaemicFigures, TimesInRanges

SIZES = (1, 7, 14, 30)
"""Days of the windows; each ends with a day on which the wearer has readings."""

DAY_MS = 86_400_000
MINUTE_MS = 60_000
SENSORS_MS = (1 * MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS)
"""How often sensors report; readings that are further apart than 1.5 times that are of a slower one, or of a gap."""
ALONE_MS = 5 * MINUTE_MS
REACH_MS = SENSORS_MS[-1] * 3 // 2
"""How far a reading can change what its neighbours stand for."""

RANGES = ("very_low", "low", "target", "high", "very_high")
BELOW = (54, 70, 181, 251)
LEAST_DAYS, LEAST_ACTIVE = 14, 70.0


def day_of(time_ms: int) -> date:
    """The day (UTC) of a sensor time."""
    return (EPOCH + timedelta(milliseconds=time_ms)).date()


def start_ms(day: date) -> int:
    """The first millisecond of a day."""
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000


def stands_for_ms(before: int | None, after: int | None) -> int:
    """How long a reading stands, from the gaps to its neighbours in ms: one interval of its sensor, or to the next."""
    near = min((gap for gap in (before, after) if gap is not None), default=REACH_MS + 1)
    interval = next((each for each in SENSORS_MS if near <= each * 3 // 2), ALONE_MS)
    return interval if after is None else min(interval, after)


def sums_of(day: date, readings: Sequence[PlainReading]) -> DaySums:
    """The sums of a day from readings in force, ascending, one a sensor time, with those `REACH_MS` around the day."""
    times = [reading.time_ms for reading in readings]
    first = bisect_left(times, start_ms(day))
    last = bisect_left(times, start_ms(day) + DAY_MS)
    ranges = [0] * len(RANGES)
    weighted = squared = clipped = 0
    for place in range(first, last):
        here = times[place]
        before = here - times[place - 1] if place else None
        after = times[place + 1] - here if place + 1 < len(times) else None
        weight = stands_for_ms(before, after)
        tenths = round(readings[place].glucose_mg_dl * 10)
        ranges[_range((tenths + 5) // 10)] += weight
        weighted += weight * tenths
        squared += weight * tenths * tenths
        clipped += bool(readings[place].clipped)
    very_low, low, target, high, very_high = ranges
    return DaySums(last - first, clipped, very_low, low, target, high, very_high, weighted, squared)


def ends_touched(days: Iterable[date], ends: Iterable[date]) -> set[tuple[date, int]]:
    """The windows (last day, number of days), of those that end on `ends`, which one of the changed `days` is in."""
    changed = sorted(set(days))
    return {
        (end, size)
        for end in ends
        for size in SIZES
        if (place := bisect_left(changed, end - timedelta(days=size - 1))) < len(changed) and changed[place] <= end
    }


def figures(ends_on: date, size: int, days: Mapping[date, DaySums]) -> GlycaemicFigures:
    """The metrics of the `size` days up to and with `ends_on`."""
    found = [days[day] for back in range(size) if (day := ends_on - timedelta(days=back)) in days]
    total = _added(found)
    active = total.very_low + total.low + total.target + total.high + total.very_high
    if not active:
        return GlycaemicFigures()
    times = (total.very_low, total.low, total.target, total.high, total.very_high)
    mean = total.weighted / active / 10
    # Whole numbers up to here: the variance of near-equal values would otherwise be what rounding left.
    variance = (active * total.squared - total.weighted * total.weighted) / (active * active)
    share = min(100.0, 100 * active / (size * DAY_MS))
    return GlycaemicFigures(
        readings=total.readings,
        clipped=total.clipped,
        days_of_wear=sum(day.readings > 0 for day in found),
        sensor_active_percent=round(share, 2),
        mean_mg_dl=round(mean, 1),
        gmi_percent=round(3.31 + 0.02392 * mean, 1),
        cv_percent=round(100 * math.sqrt(variance) / (total.weighted / active), 1),
        minutes=TimesInRanges(**_named(round(time / MINUTE_MS, 2) for time in times)),
        percent=TimesInRanges(**_named(round(100 * time / active, 2) for time in times)),
        representative=size >= LEAST_DAYS and share >= LEAST_ACTIVE,
    )


def batch(readings: Sequence[PlainReading]) -> dict[tuple[date, int], GlycaemicFigures]:
    """The metrics of every window of one wearer from all readings in force at once, ascending."""
    days = sorted({day_of(reading.time_ms) for reading in readings})
    sums = {day: sums_of(day, readings) for day in days}
    return {(end, size): figures(end, size, sums) for end in days for size in SIZES}


def _added(days: Sequence[DaySums]) -> DaySums:
    return DaySums(*(sum(column) for column in zip(*days, strict=True))) if days else DaySums()


def _range(mg_dl: int) -> int:
    return sum(mg_dl >= bound for bound in BELOW)


def _named(values: Iterable[float]) -> dict[str, float]:
    return dict(zip(RANGES, values, strict=True))
