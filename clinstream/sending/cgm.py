"""Recordings of glucose monitors as readings to post: CSV, Parquet, Nightscout JSON, exports; the door checks them."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

import msgspec

from clinstream.sending.posting import Row
from clinstream.sending.sent import Sent
from producers import cgm, vendor_csv
from schemas.errors import RejectedInput, Unprocessable, UserError

TIME_COLUMNS = ("timestamp", "measured_at", "time", "datetime", "date")
VALUE_COLUMNS = {"glucose_mg_dl": "mg/dL", "glucose": "mg/dL", "sgv": "mg/dL", "glucose_mmol_l": "mmol/L"}
PARQUET = b"PAR1"
MEASURED_AT, TO_THE_MINUTE = "measured_at", "to_the_minute"
ROUTE = "/v1/glucose"


def load(path: Path, *, simulated: bool = False, zone: tzinfo = UTC) -> Iterator[Row | Sent]:
    """The readings of one file; what cannot be read is a line of its own. A time without a zone is one of `zone`."""
    try:
        data = path.read_bytes()
        found = _parquet(path, data, zone) if data.startswith(PARQUET) else _text(path, data, zone)
        for row in found:
            yield replace(row, body={**row.body, "simulated": True}) if simulated and isinstance(row, Row) else row
    except OSError as error:
        yield Sent(str(path), "unreadable", f"the file cannot be read: {error.strerror}")
    except Unprocessable as error:
        yield Sent(str(path), "unreadable", str(error))


def zone(name: str) -> tzinfo:
    """A time zone by its name; raises UserError where there is none."""
    try:
        return vendor_csv.zone_named(name)
    except Unprocessable as error:
        raise UserError(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None


def shifted(rows: Iterable[Row | Sent], now: datetime) -> list[Row | Sent]:
    """The same readings, moved in time so that the last is `now`; the gaps between them stay."""
    kept = list(rows)
    times = [datetime.fromisoformat(row.body[MEASURED_AT]) for row in kept if isinstance(row, Row)]
    if not times:
        return kept
    by = now - max(times)

    def move(row: Row) -> Row:
        moved = datetime.fromisoformat(row.body[MEASURED_AT]) + by
        kept = {name: value for name, value in row.body.items() if name != TO_THE_MINUTE}  # a time that we made
        return replace(row, body={**kept, MEASURED_AT: moved.isoformat()})

    return [move(row) if isinstance(row, Row) else row for row in kept]


def _text(path: Path, data: bytes, zone: tzinfo) -> Iterator[Row | Sent]:
    try:
        text = data.decode("utf-8-sig").lstrip()
    except UnicodeDecodeError as error:
        raise Unprocessable("neither CSV nor Parquet nor JSON in UTF-8") from error
    if text[:1] in ("[", "{"):
        return _json(path, text)
    found = vendor_csv.read(text, zone)
    return _csv(path, text, zone) if found is None else (_of_export(path, line) for line in found)


def _of_export(path: Path, line: vendor_csv.Line) -> Row | Sent:
    place = f"{path}:{line.number}"
    if line.body is None:
        return Sent(place, "unreadable", line.reason)
    return Row(place, {**line.body, TO_THE_MINUTE: True} if line.cut else line.body)


def _json(path: Path, text: str) -> Iterator[Row | Sent]:
    """Entries as Nightscout exports them, or readings in the door's own form."""
    try:
        found = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise Unprocessable(f"not JSON: {error}") from error
    for number, item in enumerate(found if isinstance(found, list) else [found], start=1):
        place = f"{path}:{number}"
        if isinstance(item, dict) and MEASURED_AT in item:
            yield Row(place, item)
            continue
        try:
            reading = cgm.entry(item)
        except RejectedInput as error:
            yield Sent(place, "unreadable", str(error))
            continue
        if isinstance(reading, cgm.NotTaken):
            yield Sent(place, "unreadable", "not a sensor's value (a finger stick or a calibration)")
        else:
            yield Row(place, msgspec.to_builtins(reading))


def _csv(path: Path, text: str, zone: tzinfo) -> Iterator[Row | Sent]:
    reader = csv.DictReader(io.StringIO(text))
    time, value, unit = _columns(reader.fieldnames or [])
    try:
        for row in reader:
            yield _row(f"{path}:{reader.line_num}", row.get(time), row.get(value), unit, zone)
    except csv.Error as error:
        yield Sent(f"{path}:{reader.line_num}", "unreadable", f"not CSV: {error}")


def _parquet(path: Path, data: bytes, zone: tzinfo) -> Iterator[Row | Sent]:
    import polars  # on use: 0.3 s

    try:
        table = polars.read_parquet(io.BytesIO(data))
    except polars.exceptions.PolarsError as error:
        raise Unprocessable("the Parquet file cannot be read") from error
    time, value, unit = _columns(table.columns)
    for number, (moment, glucose) in enumerate(table.select(time, value).iter_rows(), start=1):
        yield _row(f"{path}:{number}", moment, glucose, unit, zone)


def _columns(names: Sequence[str]) -> tuple[str, str, str]:
    """The columns of time and value, and the value's unit."""
    known = {name.strip().lower(): name for name in names}
    time = next((known[name] for name in TIME_COLUMNS if name in known), None)
    value = next((name for name in VALUE_COLUMNS if name in known), None)
    if time is None or value is None:
        raise Unprocessable(f"no column of time ({', '.join(TIME_COLUMNS)}) or of glucose ({', '.join(VALUE_COLUMNS)})")
    return time, known[value], VALUE_COLUMNS[value]


def _row(place: str, moment: Any, glucose: Any, unit: str, zone: tzinfo) -> Row | Sent:
    try:
        measured_at = moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment).strip())
    except ValueError:
        return Sent(place, "unreadable", "the time is not ISO 8601")
    try:
        value = float(glucose)
    except (TypeError, ValueError):
        return Sent(place, "unreadable", "the glucose value is not a number")
    if measured_at.tzinfo is None:
        measured_at = measured_at.replace(tzinfo=zone).astimezone(UTC)
    return Row(place, {MEASURED_AT: measured_at.isoformat(), "value": value, "unit": unit})
