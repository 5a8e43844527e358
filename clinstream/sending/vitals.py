"""Ward vitals from CSV and JSON files as readings to post; what the door checks is not repeated."""

import csv
import gzip
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from clinstream.sending.posting import Row
from clinstream.sending.sent import Sent
from schemas.errors import Unprocessable

ROUTE = "/v1/vitals"
GZIP = b"\x1f\x8b"
MAX_FILE_BYTES = 1 << 30

STAY_COLUMNS = ("stay", "recordid", "record_id")
TIME_COLUMN, ISSUER_COLUMN = "measured_at", "issuer"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a file may leave out: the time of measurement, and whether the readings are simulated."""

    measured_at: datetime
    simulated: bool = False


def load(path: Path, features: Sequence[str], defaults: Defaults) -> Iterator[Row | Sent]:
    """The readings of one file; what cannot be read is a line of its own.

    CSV: a stay column (`stay` or `recordid`), perhaps `measured_at` and `issuer`, and the feature columns; every
    other column (the outcome of a training table, say) stays at home. JSON: an array, one object, or one a line.
    """
    try:
        text = _text(path)
        yield from _json(path, text, defaults) if text[:1] in ("[", "{") else _csv(path, text, features, defaults)
    except OSError as error:
        yield Sent(str(path), "unreadable", f"the file cannot be read: {error.strerror or 'not a gzip file'}")
    except Unprocessable as error:
        yield Sent(str(path), "unreadable", str(error))


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        if data.startswith(GZIP):
            with gzip.open(io.BytesIO(data)) as packed:
                data = packed.read(MAX_FILE_BYTES)
        return data.decode("utf-8-sig").lstrip()
    except (UnicodeDecodeError, EOFError) as error:
        raise Unprocessable("neither CSV nor JSON in UTF-8") from error


def _json(path: Path, text: str, defaults: Defaults) -> Iterator[Row | Sent]:
    try:
        found = msgspec.json.decode(text) if text.startswith("[") else msgspec.json.Decoder().decode_lines(text)
    except msgspec.DecodeError:
        try:
            found = [msgspec.json.decode(text)]
        except msgspec.DecodeError as error:
            raise Unprocessable(f"not JSON: {error}") from error
    for number, item in enumerate(found, start=1):
        place = f"{path}:{number}"
        if not isinstance(item, dict):
            yield Sent(place, "unreadable", "not a JSON object")
            continue
        body = {TIME_COLUMN: defaults.measured_at.isoformat(), **item}
        yield Row(place, {**body, "simulated": True} if defaults.simulated else body)


def _csv(path: Path, text: str, features: Sequence[str], defaults: Defaults) -> Iterator[Row | Sent]:
    reader = csv.DictReader(io.StringIO(text))
    columns = reader.fieldnames or []
    stay = next((name for name in columns if name.lower() in STAY_COLUMNS), None)
    wanted = [name for name in columns if name in set(features)]
    if stay is None or not wanted:
        raise Unprocessable(f"no column named {' or '.join(STAY_COLUMNS)}, or none of the model's features")
    try:
        for row in reader:
            yield _row(f"{path}:{reader.line_num}", row, stay, wanted, defaults)
    except csv.Error as error:
        yield Sent(f"{path}:{reader.line_num}", "unreadable", f"not CSV: {error}")


def _row(
    place: str, row: dict[str | Any, str | Any], stay: str, features: Sequence[str], defaults: Defaults
) -> Row | Sent:
    values: dict[str, float | None] = {}
    for name in features:
        text = (row.get(name) or "").strip()
        try:
            number = float(text) if text else None
        except ValueError:
            return Sent(place, "unreadable", f"{name} is not a number")
        values[name] = None if number is None or math.isnan(number) else number
        if number is not None and math.isinf(number):
            return Sent(place, "unreadable", f"{name} is not finite")
    body: dict[str, Any] = {
        "stay": (row.get(stay) or "").strip(),
        "issuer": (row.get(ISSUER_COLUMN) or "").strip(),
        TIME_COLUMN: (row.get(TIME_COLUMN) or "").strip() or defaults.measured_at.isoformat(),
        "features": values,
        "simulated": defaults.simulated,
    }
    return Row(place, body)
