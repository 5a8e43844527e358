"""What is answered to whoever asks for a wearer's forecast, metrics' neighbours included; how it is made is elsewhere.

There is no field for a diagnosis, a dose or an order of treatment, and every sentence in these records is one of the
project's own: a reader gets numbers, times and where they come from.
"""

from datetime import datetime
from typing import Literal
from uuid import UUID

from msgspec import field

from schemas.events import GLUCOSE_NOTICE, Base

PredictionStatus = Literal["forecast", "stale", "refused"]
Source = Literal["model", "baseline", "day_profile"]
PatternKind = Literal["gap", "compression_low", "sensor_drift", "unusual_day", "usually_higher", "usually_lower"]


class PredictedPoint(Base, frozen=True, kw_only=True):
    """Where glucose may be so many minutes after the newest reading, with the interval meant to hold `coverage`.

    `source` says who speaks: the model, a baseline in its place, or quantiles of the wearer's own days at that time.
    """

    horizon_minutes: int
    glucose_mg_dl: float
    low: float
    high: float
    coverage: float
    source: Source


class Provenance(Base, frozen=True, kw_only=True):
    """Every reading that the forecast was made from, oldest first, and how many days a day profile was made from."""

    reading_ids: tuple[str, ...] = ()
    from_request: bool = False
    profile_days: int = 0


class GlucosePrediction(Base, frozen=True, kw_only=True):
    """The answer to one request. `fallback` says that no model made it, and `reason` why; also why there is none."""

    prediction_id: UUID
    subject_id: str
    status: PredictionStatus
    made_at: datetime
    reason: str = ""
    newest_at: datetime | None = None
    newest_mg_dl: float | None = None
    model: str = "glucose"
    version: str = ""
    fallback: bool = False
    forecast: tuple[PredictedPoint, ...] = ()
    provenance: Provenance = field(default_factory=Provenance)
    simulated: bool = False
    notice: str = GLUCOSE_NOTICE
    use_status: str = "research use only"


class GlucosePattern(Base, frozen=True, kw_only=True):
    """Something to look at in a wearer's readings, as information: between which times, and its numbers.

    `value` and `usual` are in mg/dL, for a gap minutes without readings and the sensor's own interval.
    """

    kind: PatternKind
    first_at: datetime
    last_at: datetime
    value: float
    usual: float
    says: str
    notice: str = GLUCOSE_NOTICE
