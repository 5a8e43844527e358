"""Exports that wearers have: Dexcom Clarity and LibreView CSV as readings, a line each; no route and no file is here.

Their times are the wearer's local ones without a zone, so a zone is an argument. Rows that are no sensor values (who
the wearer is, insulin, food, finger sticks) are left out without a word: nothing of them is looked at. So are further
values of a time that has one: LibreView writes minutes, and what the sensor stored of a minute goes before its scans.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from schemas.errors import Unprocessable

LIBRE_TITLE = "glucose data"
CLARITY_TIME, CLARITY_KIND, CLARITY_VALUE = "Timestamp (", "Event Type", "Glucose Value ("
LIBRE_TIME, LIBRE_KIND, LIBRE_DEVICE = "Device Timestamp", "Record Type", "Device"
LIBRE_VALUES = {"0": "Historic Glucose ", "1": "Scan Glucose "}
STORED, SCANNED = 0, 1
"""What a value counts among those of one time, the least most: the sensor's own series, which every export of that time
has alike; then what somebody saw at a scan, which that series replaces."""

LIBRE_RANKS = {"0": STORED, "1": SCANNED}
UNITS = {"mg/dl": "mg/dL", "mmol/l": "mmol/L"}
LIMITS = {"low": {"mg/dL": 40.0, "mmol/L": 2.2}, "high": {"mg/dL": 400.0, "mmol/L": 22.2}}
WORDS = {"low": "low", "lo": "low", "high": "high", "hi": "high"}
DEXCOM = "Dexcom Clarity"


@dataclass(frozen=True, slots=True)
class Line:
    """One sensor value of a file as the glucose route takes it (`cgm.plain`), or why it cannot be read.

    `cut` says that its time is that of the minute in which it was measured.
    """

    number: int
    body: dict[str, Any] | None
    reason: str = ""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class _Line:
    """One sensor value of a file, still as text."""

    number: int
    time: str
    value: str
    unit: str
    device: str
    rank: int = STORED
    cut: bool = False


def zone_named(name: str) -> tzinfo:
    """A time zone by its name; raises Unprocessable where there is none."""
    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Unprocessable(f"there is no time zone {name[:64]!r}; write it like Europe/Berlin") from None


def read(text: str, zone: tzinfo = UTC) -> Iterator[Line] | None:
    """The readings of an export; None for a file that is none. Raises Unprocessable where it cannot be understood."""
    try:
        return _read(text, zone)
    except csv.Error as error:
        raise Unprocessable("the file is not CSV") from error


def _read(text: str, zone: tzinfo) -> Iterator[Line] | None:
    lines = text.splitlines()
    first = lines[0].lower() if lines else ""
    if first.startswith((LIBRE_TITLE, f'"{LIBRE_TITLE}')) or LIBRE_TIME.lower() in first:
        title = 0 if LIBRE_TIME.lower() in first else 1
        found = list(_libre(csv.reader(io.StringIO("\n".join(lines[title:]))), title))
        return _readings(found, _libre_clock([line.time for line in found]), zone)
    if CLARITY_TIME.lower() in first and CLARITY_KIND.lower() in first:
        return _readings(list(_clarity(csv.reader(io.StringIO(text)))), datetime.fromisoformat, zone)
    return None


def _clarity(reader: Any) -> Iterator[_Line]:
    header = next(reader)
    time, kind, value = (_column(header, name) for name in (CLARITY_TIME, CLARITY_KIND, CLARITY_VALUE))
    unit = _unit(header[value].removeprefix(CLARITY_VALUE).rstrip(")"))
    for row in reader:
        if len(row) > max(time, kind, value) and row[kind].strip().upper() == "EGV":
            yield _Line(reader.line_num, row[time].strip(), row[value], unit, DEXCOM)


def _libre(reader: Any, before: int) -> Iterator[_Line]:
    header: list[str] = next(reader, [])
    time, kind = _column(header, LIBRE_TIME), _column(header, LIBRE_KIND)
    device = _column(header, LIBRE_DEVICE)
    values = {number: _column(header, name) for number, name in LIBRE_VALUES.items()}
    units = {number: _unit(header[place].split()[-1]) for number, place in values.items()}
    for row in reader:
        number = row[kind].strip() if len(row) > kind else ""
        if number in values and len(row) > max(values[number], time, device):
            place, value = reader.line_num + before, row[values[number]]
            yield _Line(place, row[time].strip(), value, units[number], row[device], LIBRE_RANKS[number], True)


def _libre_clock(times: Sequence[str]) -> Callable[[str], datetime]:
    """How this file writes days: month first with AM and PM, else day first, unless its days prove the other."""
    parts = [time.replace("/", "-").replace(".", "-").split("-") for time in times]
    firsts = [int(part[0]) for part in parts if len(part) == 3 and part[0].isdecimal()]
    seconds = [int(part[1]) for part in parts if len(part) == 3 and part[1].isdecimal()]
    twelve = any(time.upper().endswith("M") for time in times)
    day_first, month_first = max(firsts, default=0) > 12, max(seconds, default=0) > 12
    if day_first and month_first:
        raise Unprocessable("the days of this file are written in two ways")
    if twelve and not day_first:
        month_first = True
    day = "%m-%d-%Y" if month_first else "%d-%m-%Y"
    clock = "%I:%M %p" if twelve else "%H:%M"

    def read(time: str) -> datetime:
        text = time.replace("/", "-").replace(".", "-").upper()
        return datetime.strptime(text, f"{day} {clock}")  # noqa: DTZ007 - the zone is added where it is known

    return read


def _readings(lines: Sequence[_Line], clock: Callable[[str], datetime], zone: tzinfo) -> Iterator[Line]:
    """A line for each time in the order of the file, and each that cannot be read.

    Of several values of a time the one of the least rank is the reading, of those the last: a later row corrects.
    """
    found = [(line, _reading(line, clock, zone)) for line in lines]
    taken: dict[str, _Line] = {}
    for line, made in found:
        if made.body is not None:
            time = made.body["measured_at"]
            before = taken.get(time)
            taken[time] = line if before is None or line.rank <= before.rank else before
    kept = {id(line) for line in taken.values()}
    return (made for line, made in found if made.body is None or id(line) in kept)


def _reading(line: _Line, clock: Callable[[str], datetime], zone: tzinfo) -> Line:
    try:
        moment = clock(line.time)
        at = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return Line(line.number, None, "the time is not written as in the rest of such files")
    body: dict[str, Any] = {"measured_at": at.isoformat(), "unit": line.unit}
    word = WORDS.get(line.value.strip().lower())
    try:
        value = LIMITS[word][line.unit] if word else float(line.value.strip().replace(",", "."))
    except ValueError:
        return Line(line.number, None, "the glucose value is not a number")
    body |= {"value": value, "device": line.device.strip()[:255]}
    return Line(line.number, {**body, "clipped": word} if word else body, cut=line.cut)


def _column(header: Sequence[str], name: str) -> int:
    """The place of the column that is called so, or begins so where more follows in its name."""
    exact = [place for place, text in enumerate(header) if text.strip().lower() == name.strip().lower()]
    begun = [place for place, text in enumerate(header) if text.strip().lower().startswith(name.lower())]
    if not (exact or begun):
        raise Unprocessable(f"this export has no column {name.strip(' (')!r}")
    return (exact or begun)[0]


def _unit(text: str) -> str:
    unit = UNITS.get(text.strip().lower())
    if unit is None:
        raise Unprocessable("the unit in the title of the glucose column is neither mg/dL nor mmol/L")
    return unit
