"""What stands out in a wearer's readings, and what is usual for the wearer: information to look at, no advice.

Every sentence is made here from numbers and times. Times of day are UTC, since events know no other.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise
from statistics import fmean, median, pstdev

from adapters.database import PlainReading
from adapters.database.readings import EPOCH
from consumers.glycaemia import DAY_MS, MINUTE_MS, day_of, start_ms
from schemas.predictions import GlucosePattern, PatternKind

DAYS = 28
GAP_MINUTES = 60
LOW, STEEP, BACK_MINUTES, SHORT_MINUTES = 70.0, 25.0, 20, 60
NIGHT = range(22, 30)
"""Hours (UTC, 24 and more are of the next day) in which a sensor may be lain upon."""
DRIFT_DAYS, DRIFT_MG_DL = 3, 25.0
LEAST_DAYS, LEAST_ACTIVE = 7, 0.5
UNUSUAL = 2.5
LEAST_SPREAD = 8.0
HIGHER_MG_DL, MOST_DAYS = 25.0, 0.75
PARTS = {"between 0 and 6": (0, 6), "between 6 and 12": (6, 12), "between 12 and 18": (12, 18), "after 18": (18, 24)}


def find(readings: Sequence[PlainReading], now: datetime) -> list[GlucosePattern]:
    """Everything that stands out in readings in force, ascending; in order of time."""
    if not readings:
        return []
    found = [
        *_gaps(readings, now),
        *_compression_lows(readings),
        *_drift(readings),
        *_days(readings),
        *_usual(readings),
    ]
    return sorted(found, key=lambda each: (each.first_at, each.kind))


def _gaps(readings: Sequence[PlainReading], now: datetime) -> Iterator[GlucosePattern]:
    """An hour or more without a reading, the present one included."""
    steps = [b.time_ms - a.time_ms for a, b in pairwise(readings)]
    usual = round(median(steps) / MINUTE_MS) if steps else 5
    ends = [*(reading.time_ms for reading in readings[1:]), round(now.timestamp() * 1000)]
    for reading, end in zip(readings, ends, strict=True):
        minutes = (end - reading.time_ms) / MINUTE_MS
        if minutes >= GAP_MINUTES:
            says = f"No reading for {_span(minutes)}."
            yield _pattern("gap", reading.time_ms, end, minutes, usual, says)


def _compression_lows(readings: Sequence[PlainReading]) -> Iterator[GlucosePattern]:
    """At night a steep fall below 70 that comes back as steeply within an hour, as when a sensor is lain upon."""
    place = 1
    while place < len(readings):
        before, here = readings[place - 1], readings[place]
        fell = here.glucose_mg_dl < LOW and before.glucose_mg_dl - here.glucose_mg_dl >= STEEP
        if not (fell and _at_night(here.time_ms) and here.time_ms - before.time_ms <= BACK_MINUTES * MINUTE_MS):
            place += 1
            continue
        last = place
        while last + 1 < len(readings) and readings[last + 1].glucose_mg_dl < LOW:
            last += 1
        after = readings[last + 1] if last + 1 < len(readings) else None
        lowest = min(reading.glucose_mg_dl for reading in readings[place : last + 1])
        short = readings[last].time_ms - here.time_ms <= SHORT_MINUTES * MINUTE_MS
        rose = after is not None and (
            after.glucose_mg_dl - readings[last].glucose_mg_dl >= STEEP
            and after.time_ms - readings[last].time_ms <= BACK_MINUTES * MINUTE_MS
        )
        if short and rose:
            says = (
                f"A sudden short low at night, down to {lowest:.0f} mg/dL: pressure on the sensor can look like this."
            )
            yield _pattern("compression_low", here.time_ms, readings[last].time_ms, lowest, before.glucose_mg_dl, says)
        place = last + 1


def _drift(readings: Sequence[PlainReading]) -> Iterator[GlucosePattern]:
    """Three days that lie apart from those before by an even amount at every hour, as with a sensor that drifts."""
    last = readings[-1].time_ms
    recent_from = last - DRIFT_DAYS * DAY_MS
    hours: dict[int, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for reading in readings:
        hours[reading.time_ms % DAY_MS // (3600 * 1000)][reading.time_ms > recent_from].append(reading.glucose_mg_dl)
    apart = [fmean(new) - fmean(old) for old, new in hours.values() if len(old) >= 4 * LEAST_DAYS and len(new) >= 8]
    if len(apart) < 20:
        return
    middle = fmean(apart)
    even = pstdev(apart) < abs(middle) / 2
    if abs(middle) >= DRIFT_MG_DL and even:
        way = "higher" if middle > 0 else "lower"
        says = (
            f"The last {DRIFT_DAYS} days read {abs(middle):.0f} mg/dL {way} at nearly every hour than the days before: "
            "a finger stick can tell a sensor that drifts from a change of the wearer's."
        )
        usual = fmean(value for old, _ in hours.values() for value in old)
        yield _pattern("sensor_drift", recent_from, last, usual + middle, usual, says)


def _days(readings: Sequence[PlainReading]) -> Iterator[GlucosePattern]:
    """Days whose mean lies far from the wearer's other days."""
    means = _means(readings)
    for day, mean in means.items():
        others = [value for other, value in means.items() if other != day]
        if len(others) < LEAST_DAYS:
            return
        usual, spread = fmean(others), max(LEAST_SPREAD, pstdev(others))
        if abs(mean - usual) >= UNUSUAL * spread:
            way = "higher" if mean > usual else "lower"
            says = f"On this day the mean was {mean:.0f} mg/dL, {way} than the {usual:.0f} of the wearer's other days."
            start = start_ms(day)
            yield _pattern("unusual_day", start, start + DAY_MS, mean, usual, says)


def _usual(readings: Sequence[PlainReading]) -> Iterator[GlucosePattern]:
    """Parts of the day that on most days lie above or below the rest of the same day."""
    by_day: dict[date, list[PlainReading]] = defaultdict(list)
    for reading in readings:
        by_day[day_of(reading.time_ms)].append(reading)
    for name, (first, last) in PARTS.items():
        apart = []
        for day in by_day.values():
            inside = [r.glucose_mg_dl for r in day if first <= _hour(r.time_ms) < last]
            outside = [r.glucose_mg_dl for r in day if not first <= _hour(r.time_ms) < last]
            if len(inside) >= 8 and len(outside) >= 24:
                apart.append(fmean(inside) - fmean(outside))
        if len(apart) < LEAST_DAYS:
            continue
        middle = fmean(apart)
        agreeing = sum((each > 0) == (middle > 0) for each in apart) / len(apart)
        if abs(middle) >= HIGHER_MG_DL and agreeing >= MOST_DAYS:
            kind: PatternKind = "usually_higher" if middle > 0 else "usually_lower"
            way = "higher" if middle > 0 else "lower"
            mean = fmean(reading.glucose_mg_dl for reading in readings)
            says = (
                f"Usually {way} {name} o'clock (UTC): {abs(middle):.0f} mg/dL from the rest of the day, "
                f"on {agreeing:.0%} of {len(apart)} days."
            )
            yield _pattern(kind, readings[0].time_ms, readings[-1].time_ms, mean + middle, mean, says)


def _means(readings: Sequence[PlainReading]) -> dict[date, float]:
    """Means of the days that are covered by half or more."""
    by_day: dict[date, list[PlainReading]] = defaultdict(list)
    for reading in readings:
        by_day[day_of(reading.time_ms)].append(reading)
    quarters = DAY_MS // (15 * MINUTE_MS)
    return {
        day: fmean(reading.glucose_mg_dl for reading in found)
        for day, found in by_day.items()
        if len({reading.time_ms // (15 * MINUTE_MS) for reading in found}) >= LEAST_ACTIVE * quarters
    }


def _pattern(kind: PatternKind, first: int, last: int, value: float, usual: float, says: str) -> GlucosePattern:
    return GlucosePattern(
        kind=kind, first_at=_at(first), last_at=_at(last), value=round(value, 1), usual=round(usual, 1), says=says
    )


def _at(time_ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=time_ms)


def _hour(time_ms: int) -> int:
    return time_ms % DAY_MS // (60 * MINUTE_MS)


def _at_night(time_ms: int) -> bool:
    hour = _hour(time_ms)
    return hour in NIGHT or hour + 24 in NIGHT


def _span(minutes: float) -> str:
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
