"""Readings given back to apps as Nightscout writes them: what was uploaded and nothing else; reading them is elsewhere.

A follower may dose on these: value, unit and device are the uploader's, nothing is filled in, smoothed or foreseen.
"""

from datetime import UTC, datetime
from typing import Any

from adapters.database.shelf import Uploaded, in_ms

PREFIX = "sgv-"


def iso(moment: datetime) -> str:
    """The time as apps write it, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def number(value: float) -> float | int:
    """Whole numbers without a fraction, as they were sent."""
    return int(value) if value.is_integer() else value


def identifier(time_ms: int) -> str:
    """The name of a wearer's reading of a sensor time, the same for all its revisions."""
    return f"{PREFIX}{time_ms}"


def time_of(name: str) -> int | None:
    """The sensor time of a reading's name, in milliseconds; None for another's."""
    digits = name.removeprefix(PREFIX)
    return int(digits) if name.startswith(PREFIX) and digits.isdecimal() and len(digits) < 15 else None


def entry(row: Uploaded) -> dict[str, Any]:
    """An entry of interface v1."""
    found = {"_id": str(row.event_id), **_common(row)}
    found["sysTime"] = found["dateString"]
    return found


def document(row: Uploaded) -> dict[str, Any]:
    """An entry of interface v3; of a deleted one only that it is deleted."""
    known = {
        "identifier": identifier(row.time_ms),
        "srvCreated": in_ms(row.observed_at),
        "srvModified": in_ms(row.recorded_at),
        "isValid": not row.deleted,
    }
    if row.deleted:
        return {**known, "type": "sgv", "date": row.time_ms}
    return {**known, "_id": str(row.event_id), **_common(row)}


def _common(row: Uploaded) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "sgv",
        "sgv": number(row.raw_value),
        "date": row.time_ms,
        "dateString": iso(row.measured_at),
        "units": row.raw_unit,
        "utcOffset": 0,
    }
    if row.trend:
        found["direction"] = row.trend
    if row.device:
        found["device"] = row.device
    return found
