"""Recordings and pictures as `send cgm` and `send otoscope` read them: columns, times, units, names of files (S4)."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars
import pytest

from clinstream.sending import cgm, otoscope
from clinstream.sending.otoscope import Saying
from clinstream.sending.posting import Row
from clinstream.sending.sent import Sent
from producers.otoscope import named
from schemas.errors import Unprocessable

CSV = "timestamp,glucose_mg_dl,note\n2022-04-09T13:15:07,145,a\n2022-04-09T15:20:06+02:00,144,b\n"


def bodies(path: Path, **more: Any) -> list[dict[str, Any]]:
    return [row.body for row in cgm.load(path, **more) if isinstance(row, Row)]


def file(tmp_path: Path, content: str | bytes, name: str = "w.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_csv_gives_a_reading_a_line_and_a_time_without_a_zone_is_utc(tmp_path: Path) -> None:
    path = file(tmp_path, CSV)
    rows = list(cgm.load(path))
    assert [row.path for row in rows] == [f"{path}:2", f"{path}:3"]
    assert bodies(path) == [
        {"measured_at": "2022-04-09T13:15:07+00:00", "value": 145.0, "unit": "mg/dL"},
        {"measured_at": "2022-04-09T15:20:06+02:00", "value": 144.0, "unit": "mg/dL"},
    ]
    assert all(body["simulated"] for body in bodies(path, simulated=True))


def test_parquet_and_mmol_columns_are_read(tmp_path: Path) -> None:
    path = tmp_path / "w.parquet"
    times = [datetime(2022, 4, 9, 13), datetime(2022, 4, 9, 13, 5)]  # noqa: DTZ001 - recordings have none
    polars.DataFrame({"Time": times, "glucose_mmol_l": [5.5, None]}).write_parquet(path)
    rows = list(cgm.load(path))
    assert isinstance(rows[0], Row)
    assert rows[0].body == {"measured_at": "2022-04-09T13:00:00+00:00", "value": 5.5, "unit": "mmol/L"}
    assert rows[1] == Sent(f"{path}:2", "unreadable", "the glucose value is not a number")


def test_nightscout_exports_are_read_and_what_is_no_sensor_value_is_said(tmp_path: Path) -> None:
    entries = [
        {"type": "sgv", "sgv": 120, "date": 1_700_000_000_000, "direction": "Flat", "device": "x"},
        {"type": "mbg", "mbg": 99, "date": 1_700_000_000_000},
        {"type": "sgv", "sgv": "?", "date": 1_700_000_000_000},
        {"measured_at": "2022-04-09T13:00:00Z", "value": 5.5, "unit": "mmol/L"},
    ]
    path = file(tmp_path, json.dumps(entries), "e.json")
    rows = list(cgm.load(path))
    assert [isinstance(row, Row) for row in rows] == [True, False, False, True]
    assert bodies(path)[0]["value"] == 120.0
    assert bodies(path)[0]["trend"] == "Flat"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a,b\n1,2\n", "no column of time"),
        ("[", "not JSON"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"PAR1 broken", "Parquet"),
        ("time,glucose\nyesterday,99\n", "ISO 8601"),
    ],
)
def test_what_cannot_be_read_is_a_line_with_its_reason(tmp_path: Path, content: str | bytes, reason: str) -> None:
    (line,) = cgm.load(file(tmp_path, content))
    assert isinstance(line, Sent)
    assert line.status == "unreadable"
    assert reason in line.reason


def test_shifting_makes_the_last_reading_now_and_keeps_the_gaps(tmp_path: Path) -> None:
    now = datetime(2026, 1, 31, 8, tzinfo=UTC)
    bad = Sent("x", "unreadable", "")
    rows = cgm.shifted([*cgm.load(file(tmp_path, CSV)), bad], now)
    times = [datetime.fromisoformat(row.body["measured_at"]) for row in rows if isinstance(row, Row)]
    assert times == [now - timedelta(minutes=4, seconds=59), now]
    assert rows[2] is bad
    assert cgm.shifted([], now) == []


@pytest.mark.parametrize(
    ("stem", "found"),
    [
        ("P-9_left", ("P-9", "left")),
        ("ear-01_right", ("ear-01", "right")),
        ("a_b_RIGHT_drum_2", ("a_b", "right")),
        ("left", None),
        ("_left", None),
        ("P-9", None),
        ("P-9-left", None),
        ("P_left_right", None),
    ],
)
def test_the_name_of_a_file_says_whose_ear_it_is_or_nothing(stem: str, found: tuple[str, str] | None) -> None:
    if found is None:
        with pytest.raises(Unprocessable, match="SUBJECT_left"):
            named(stem)
    else:
        assert named(stem) == found


def test_what_the_caller_says_wins_over_the_name() -> None:
    path = Path("P-9_left.jpg")
    assert otoscope.fields(path, Saying())["subject"] == "P-9"
    said = otoscope.fields(path, Saying("right", "Q", stat=True))
    assert (said["subject"], said["laterality"], said["stat"]) == ("Q", "right", "true")
    assert otoscope.fields(Path("scan.jpg"), Saying("left"))["subject"] == "scan"
    with pytest.raises(Unprocessable):
        otoscope.fields(Path("scan.jpg"), Saying(subject="Q"))
