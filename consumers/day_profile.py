"""A wearer's own days as quantiles by time of day (UTC): what usually is, not what will be; no database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from adapters.database import PlainReading
from consumers.glycaemia import DAY_MS, MINUTE_MS

DAYS = 28
"""How far back a profile looks."""
LEAST_DAYS = 5
"""On fewer days nothing is said of a time of day."""
SLOT_MS = 15 * MINUTE_MS
SLOTS = DAY_MS // SLOT_MS
AROUND = 2
"""Slots before and after that count too: half an hour."""
QUANTILES = (0.05, 0.5, 0.95)
COVERAGE = 0.9


@dataclass(frozen=True, slots=True)
class Usual:
    """Quantiles in mg/dL of one quarter hour, and of how many days."""

    low: float
    middle: float
    high: float
    days: int


Profile = Mapping[int, Usual]


def slot_of(time_ms: int) -> int:
    """The quarter hour of the day."""
    return time_ms % DAY_MS // SLOT_MS


def profile(readings: Sequence[PlainReading]) -> Profile:
    """Quantiles by quarter hour, of the half hour around each, where there are enough days."""
    if not readings:
        return {}
    times = np.array([reading.time_ms for reading in readings], dtype=np.int64)
    values = np.array([reading.glucose_mg_dl for reading in readings], dtype=np.float64)
    slots, days = times % DAY_MS // SLOT_MS, times // DAY_MS
    found: dict[int, Usual] = {}
    for slot in range(SLOTS):
        near = (slots - slot + AROUND) % SLOTS <= 2 * AROUND
        many = len(np.unique(days[near]))
        if many >= LEAST_DAYS:
            low, middle, high = np.quantile(values[near], QUANTILES).round(1).tolist()
            found[slot] = Usual(low, middle, high, many)
    return found
