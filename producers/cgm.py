"""Glucose readings: what an uploader's entry or a plain reading must look like and which event it becomes; no HTTP.

A value is converted to mg/dL once, here. Values of sensors below 40 or above 400 mg/dL are bounds, not measurements.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec

from adapters import telemetry
from adapters.database.shelf import Uploaded, in_ms
from adapters.kafka import Message
from schemas import ids, topics
from schemas.envelope import pack
from schemas.errors import OutOfRange, RejectedInput, Unprocessable
from schemas.events import Bound, GlucoseObserved, GlucoseUnit

SOURCE = "clinstream/door-http"
MG_DL_A_MMOL_L = 18.01559
"""Molar mass of glucose, 180.1559 g/mol, over ten."""

LOWEST, HIGHEST = 10.0, 600.0
LIKE_MMOL = 25.0
SENSOR_LOW, SENSOR_HIGH = 40.0, 400.0
"""The range of the common sensors in mg/dL: at its ends they say "low" and "high"."""

AHEAD = timedelta(minutes=10)
LIVE = timedelta(minutes=15)
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
MAX_DEVICE = 255
TRENDS = frozenset(
    (
        "DoubleUp",
        "SingleUp",
        "FortyFiveUp",
        "Flat",
        "FortyFiveDown",
        "SingleDown",
        "DoubleDown",
        "NOT COMPUTABLE",
        "RATE OUT OF RANGE",
        "NONE",
    )
)
CLIPPED: Mapping[str, Bound] = {"": "", "low": "low", "high": "high"}
UNITS: Mapping[str, GlucoseUnit] = {
    "": "mg/dL",
    "mg/dl": "mg/dL",
    "mgdl": "mg/dL",
    "mmol/l": "mmol/L",
    "mmol": "mmol/L",
    "mg": "mg/dL",
}


class Reading(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One value of one wearer's sensor. Unknown fields are refused: a misspelt `simulated` must not pass.

    `clipped` says that the sensor showed "low" or "high" and that `value` is its limit. `to_the_minute` says that the
    time is cut to the minute, so that a reading of that minute which an app told with its second is the same one.
    """

    measured_at: Annotated[datetime, msgspec.Meta(tz=True)]
    value: float
    unit: GlucoseUnit
    trend: Annotated[str, msgspec.Meta(max_length=32)] = ""
    device: Annotated[str, msgspec.Meta(max_length=MAX_DEVICE)] = ""
    simulated: bool = False
    clipped: Bound = ""
    to_the_minute: bool = False


@dataclass(frozen=True, slots=True)
class NotTaken:
    """An entry that is no sensor value (a finger stick, a calibration): answered and left."""

    kind: str


def plain(item: Any) -> Reading:
    """One reading of `POST /v1/glucose`; raises Unprocessable naming the field and not its value."""
    try:
        return msgspec.convert(item, Reading)
    except msgspec.ValidationError as error:
        raise Unprocessable(str(error)[:200]) from error


def entry(item: Any) -> Reading | NotTaken:
    """One entry of a Nightscout uploader; raises Unprocessable or OutOfRange with what is wrong."""
    if not isinstance(item, dict):
        raise Unprocessable("an entry is a JSON object")
    kind = item.get("type", "sgv")
    if kind != "sgv":
        return NotTaken(kind if kind in ("mbg", "cal") else "other")
    unit = UNITS.get(str(item.get("units") or "").strip().lower())
    if unit is None:
        raise Unprocessable("units is neither mg/dL nor mmol/L")
    direction = item.get("direction")
    device = item.get("device")
    return Reading(
        measured_at=_time(item),
        value=_number(item.get("sgv"), "sgv"),
        unit=unit,
        trend=direction if isinstance(direction, str) and direction in TRENDS else "",
        device=device[:MAX_DEVICE] if isinstance(device, str) else "",
    )


def observed(
    reading: Reading, subject: str, now: datetime, sender: str, before: Sequence[Uploaded] = ()
) -> tuple[GlucoseObserved, Message]:
    """The event of a reading of the wearer `subject` and its record, keyed by the wearer; raises OutOfRange.

    `before` is what was said of that sensor time where this is known to be a correction of it: a value that was said
    before is then a new content, since it is true again.
    """
    value = in_mg_dl(reading.value, reading.unit)
    measured_at = _plausible_time(ids.utc(reading.measured_at), now)
    clipped = reading.clipped or bound(value)
    object_id = ids.reading_object_id(subject, measured_at)
    if reading.simulated:
        object_id = ids.SIMULATED + object_id
    content = ids.reading_content(value, clipped)
    if before and before[-1].content != content and any(row.content == content for row in before):
        content = ids.restored_content(content, before[-1].content)
    event = GlucoseObserved(
        event_id=ids.event_id(object_id, content),
        object_id=object_id,
        content=content,
        subject_id=subject,
        glucose_mg_dl=value,
        raw_value=reading.value,
        raw_unit=reading.unit,
        measured_at=measured_at,
        observed_at=now,
        clipped=clipped,
        trend=reading.trend if reading.trend in TRENDS else "",
        device=reading.device.replace("\0", ""),  # PostgreSQL holds no text with NUL in it
        sender=sender,
        simulated=reading.simulated,
    )
    return event, _message(event, now)


def taken_back(row: Uploaded, subject: str, now: datetime, sender: str) -> tuple[GlucoseObserved, Message]:
    """The event that deletes a recorded reading, and its record."""
    object_id = ids.reading_object_id(subject, row.measured_at)
    content = ids.deletion_content(row.content)
    event = GlucoseObserved(
        event_id=ids.event_id(object_id, content),
        object_id=object_id,
        content=content,
        subject_id=subject,
        glucose_mg_dl=round(row.glucose_mg_dl, 1),
        raw_value=row.raw_value,
        raw_unit="mmol/L" if row.raw_unit == "mmol/L" else "mg/dL",
        measured_at=row.measured_at,
        observed_at=now,
        clipped=CLIPPED[row.clipped],
        trend=row.trend,
        device=row.device,
        sender=sender,
        deleted=True,
    )
    return event, _message(event, now)


def _message(event: GlucoseObserved, now: datetime) -> Message:
    extensions = {"priority": "routine", "objectid": event.object_id}
    if event.simulated:
        extensions["simulated"] = "true"
    headers, body = pack(
        event,
        id=str(event.event_id),
        source=SOURCE,
        subject=event.subject_id,
        time=now,
        traceparent=telemetry.new_traceparent(),
        extensions=extensions,
    )
    topic = topics.OBSERVED_GLUCOSE[lane(event.measured_at, now)]
    return Message(topic, event.subject_id.encode(), headers, body)


def time_ms(event: GlucoseObserved) -> int:
    """The sensor time in milliseconds since the epoch."""
    return in_ms(event.measured_at)


def in_mg_dl(value: float, unit: GlucoseUnit) -> float:
    """The value in mg/dL to a tenth, which is what identity sees; raises OutOfRange for what no sensor says."""
    if not math.isfinite(value):
        raise OutOfRange("the value is not a finite number")
    if unit == "mg/dL" and value < LIKE_MMOL:
        raise OutOfRange(
            f"below {LIKE_MMOL:g} mg/dL: this looks like mmol/L sent without its unit, or like a sensor's error code"
        )
    found = round(value * MG_DL_A_MMOL_L if unit == "mmol/L" else value, 1)
    if not LOWEST <= found <= HIGHEST:
        raise OutOfRange(f"outside {LOWEST:g} to {HIGHEST:g} mg/dL: not plausible for a glucose sensor")
    return found


def bound(glucose_mg_dl: float) -> Bound:
    """Whether a value is a sensor's limit: at most 40 mg/dL is "low", at least 400 is "high"."""
    return "low" if glucose_mg_dl <= SENSOR_LOW else "high" if glucose_mg_dl >= SENSOR_HIGH else ""


def lane(measured_at: datetime, now: datetime) -> Literal["live", "backfill"]:
    """Readings measured more than 15 minutes before they arrive are backfill."""
    return "backfill" if now - measured_at > LIVE else "live"


def _plausible_time(measured_at: datetime, now: datetime) -> datetime:
    if measured_at < EARLIEST:
        raise OutOfRange("the time lies before the year 2000; `date` is in milliseconds since 1970")
    if measured_at - now > AHEAD:
        raise OutOfRange("the time lies more than 10 minutes in the future; set the clock of the uploader")
    return measured_at


def _time(item: Mapping[str, Any]) -> datetime:
    """`date` in milliseconds since the epoch, else `dateString` with a zone."""
    if item.get("date") is not None:
        milliseconds = _number(item["date"], "date")
        try:
            return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=round(milliseconds))
        except (OverflowError, ValueError) as error:
            raise Unprocessable("date is no time in milliseconds since 1970") from error
    text = item.get("dateString")
    if not isinstance(text, str):
        raise Unprocessable("neither date nor dateString is there")
    try:
        return ids.utc(datetime.fromisoformat(text))
    except RejectedInput:
        raise
    except (ValueError, OverflowError) as error:
        raise Unprocessable("dateString is no ISO 8601 time") from error


def _number(value: Any, name: str) -> float:
    """A number, which some uploaders send as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise Unprocessable(f"{name} is not a number")
    try:
        found = float(value)
    except (ValueError, OverflowError) as error:
        raise Unprocessable(f"{name} is not a number") from error
    if not math.isfinite(found):
        raise Unprocessable(f"{name} is not a finite number")
    return found
