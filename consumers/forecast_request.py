"""What a request for a forecast may say, checked against the model's own horizons and plausible values; no HTTP."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec

from adapters.database import PlainReading
from adapters.database.readings import EPOCH
from schemas import ids
from schemas.card import ModelCard
from schemas.errors import OutOfRange, Unprocessable
from schemas.events import GlucoseUnit

MG_DL_A_MMOL_L = 18.01559
DAY_MINUTES = 24 * 60
PROFILE_STEP_MINUTES = 15
MOST_HORIZONS = 100
MOST_READINGS = 256
MOST_REQUESTS = 100
USUAL = (30, 60, 120)
LOWEST, HIGHEST, LIKE_MMOL = 20.0, 600.0, 25.0
AHEAD = timedelta(minutes=10)


class GivenReading(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A reading that the request brings along, used for this forecast and not kept."""

    measured_at: Annotated[datetime, msgspec.Meta(tz=True)]
    value: float
    unit: GlucoseUnit


class ForecastRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One forecast. Without `readings` it is made from those that the wearer's uploaders sent."""

    horizons_minutes: Annotated[tuple[int, ...], msgspec.Meta(max_length=MOST_HORIZONS)] = USUAL
    readings: Annotated[tuple[GivenReading, ...], msgspec.Meta(max_length=MOST_READINGS)] | None = None
    simulated: bool = False


def read(data: bytes) -> tuple[list[Any], bool]:
    """The requests of a body, and whether it is a batch: an object, an array, or `{"requests": [...]}`.

    Raises Unprocessable.
    """
    if not data.strip():
        return [{}], False
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as broken:
        raise Unprocessable("the body is not JSON") from broken
    if isinstance(found, dict) and set(found) == {"requests"}:
        found = found["requests"]
        if not isinstance(found, list):
            raise Unprocessable("requests is an array")
    if not isinstance(found, list):
        return [found], False
    if len(found) > MOST_REQUESTS:
        raise Unprocessable(f"a batch has at most {MOST_REQUESTS} requests")
    return found, True


def check(item: Any, card: ModelCard, now: datetime) -> ForecastRequest:
    """One request, fit for the model of `card`; raises Unprocessable or OutOfRange with what is wrong."""
    try:
        asked = msgspec.convert(item, ForecastRequest)
    except msgspec.ValidationError as error:
        raise Unprocessable(str(error)[:200]) from error
    longest = max(card.horizons_minutes)
    for minutes in asked.horizons_minutes:
        if minutes in card.horizons_minutes:
            continue
        if not longest < minutes <= DAY_MINUTES or minutes % PROFILE_STEP_MINUTES:
            known = ", ".join(map(str, card.horizons_minutes))
            raise OutOfRange(
                f"horizons_minutes are of {known}, or quarter hours beyond {longest} up to {DAY_MINUTES} minutes"
            )
    if not asked.horizons_minutes:
        raise OutOfRange("horizons_minutes names no horizon")
    for reading in asked.readings or ():
        if ids.utc(reading.measured_at) > now + AHEAD:
            raise OutOfRange("a reading lies more than 10 minutes in the future")
        in_mg_dl(reading)
    return asked


def in_mg_dl(reading: GivenReading) -> float:
    """The value in mg/dL to a tenth; raises OutOfRange outside of what the model was trained on."""
    if not math.isfinite(reading.value):
        raise OutOfRange("a value is not a finite number")
    if reading.unit == "mg/dL" and reading.value < LIKE_MMOL:
        raise OutOfRange(f"a value below {LIKE_MMOL:g} mg/dL looks like mmol/L")
    found = round(reading.value * MG_DL_A_MMOL_L if reading.unit == "mmol/L" else reading.value, 1)
    if not LOWEST <= found <= HIGHEST:
        raise OutOfRange(f"a value is outside {LOWEST:g} to {HIGHEST:g} mg/dL, on which the model was trained")
    return found


def plain(readings: Sequence[GivenReading]) -> list[PlainReading]:
    """The readings by time, one a sensor time: of two the later given."""
    found = {(ids.utc(r.measured_at) - EPOCH) // timedelta(milliseconds=1): in_mg_dl(r) for r in readings}
    return [PlainReading(time, found[time]) for time in sorted(found)]
