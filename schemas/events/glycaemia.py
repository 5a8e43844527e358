"""Glycaemic metrics of a wearer's days."""

from datetime import date, datetime
from typing import ClassVar

from msgspec import field

from schemas.events.base import Base

GLUCOSE_NOTICE = "Informational only, not medical advice."


class TimesInRanges(Base, frozen=True, kw_only=True):
    """One number for each range of glucose: below 54, 54-69, 70-180, 181-250 and above 250 mg/dL."""

    very_low: float = 0.0
    low: float = 0.0
    target: float = 0.0
    high: float = 0.0
    very_high: float = 0.0


class GlycaemicFigures(Base, frozen=True, kw_only=True):
    """Glycaemic metrics of some days of one wearer; None where nothing was measured.

    `readings` counts sensor times, `clipped` those at the sensor's limit, which count as the limit. Times are weighted
    by the minutes that each reading stands for. `sensor_active_percent` is of the whole days, `representative` that
    they are 14 or more with the sensor active for 70 % of them.
    """

    readings: int = 0
    clipped: int = 0
    days_of_wear: int = 0
    sensor_active_percent: float = 0.0
    mean_mg_dl: float | None = None
    gmi_percent: float | None = None
    cv_percent: float | None = None
    minutes: TimesInRanges = field(default_factory=TimesInRanges)
    percent: TimesInRanges = field(default_factory=TimesInRanges)
    representative: bool = False


class GlucoseMetricsRevised(Base, frozen=True, kw_only=True):
    """The glycaemic metrics of a wearer over `days` whole days (UTC) up to and with `ends_on`, computed anew.

    `revision` counts from 1 for each (wearer, days, ends_on): a late, corrected or deleted reading makes the next one,
    and the highest counts.
    """

    TYPE: ClassVar[str] = "org.clinstream.glucose.metrics-revised.v1"

    subject_id: str
    days: int
    ends_on: date
    revision: int
    figures: GlycaemicFigures
    computed_at: datetime
    notice: str = GLUCOSE_NOTICE
    simulated: bool = False
