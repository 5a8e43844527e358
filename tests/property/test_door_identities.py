"""Identities at the doors, for anything that senders may say: readings, pictures, assessments (S1, CC11)."""

import contextlib
import io
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adapters import bare_picture
from producers import cgm, otoscope, review
from schemas import ids
from schemas.errors import RejectedInput, Unprocessable

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
KEY = b"k" * 32
RESULT = UUID(int=7)

values = st.integers(25, 600)
ages = st.integers(-600_000, 10**10)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def event(entry: dict[str, Any]) -> Any:
    reading = cgm.entry(entry)
    assert isinstance(reading, cgm.Reading)
    return cgm.observed(reading, "sub-a", NOW, "nightscout")[0]


@settings(deadline=None)
@given(values, ages, st.text(max_size=80), st.text(max_size=80), st.integers(-14, 14))
def test_a_reading_is_one_event_whatever_device_zone_and_unit_it_comes_with(
    value: int, age: int, device: str, direction: str, hours: int
) -> None:
    date = NOW_MS - age
    local = (datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=date)).astimezone(timezone(timedelta(hours=hours)))
    plain = event({"sgv": value, "date": date})
    same = [
        {"type": "sgv", "sgv": str(value), "date": float(date), "device": device, "direction": direction},
        {"sgv": value, "dateString": local.isoformat(timespec="milliseconds"), "units": "mg/dl"},
        {"sgv": value / cgm.MG_DL_A_MMOL_L, "units": "mmol/L", "date": date},
    ]
    for other in map(event, same):
        assert (other.event_id, other.object_id, other.content) == (plain.event_id, plain.object_id, plain.content)
    assert (plain.clipped == "low", plain.clipped == "high") == (value <= 40, value >= 400)


@settings(deadline=None)
@given(values, values, ages, ages)
def test_another_value_is_another_content_and_another_time_another_object(
    one: int, other: int, age: int, later: int
) -> None:
    first, second = event({"sgv": one, "date": NOW_MS - age}), event({"sgv": other, "date": NOW_MS - later})
    assert (first.content == second.content) == (one == other)
    assert (first.object_id == second.object_id) == (age == later)
    assert (first.event_id == second.event_id) == (one == other and age == later)


@settings(deadline=None)
@given(json_values, st.dictionaries(st.sampled_from(["sgv", "date", "dateString", "units", "type"]), json_values))
def test_whatever_an_uploader_sends_is_taken_left_or_refused(item: Any, entry: dict[str, Any]) -> None:
    for sent in (item, entry):
        for read in (cgm.entry, cgm.plain):
            with contextlib.suppress(RejectedInput):
                reading = read(sent)
                if isinstance(reading, cgm.Reading):
                    cgm.observed(reading, "sub-a", NOW, "http")


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["JPEG", "PNG"]),
    st.integers(1, 8),
    st.binary(max_size=60),
)
def test_a_bare_picture_stays_as_it_is_and_is_one_event_for_its_ear(
    seed: int, rows: int, columns: int, form: str, orientation: int, comment: bytes
) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x9286] = comment
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, exif=exif)
    stored = bare_picture.bare(file.getvalue())
    assert bare_picture.bare(stored) == stored
    assert not Image.open(io.BytesIO(stored)).getexif()
    first, _, (uri, kept) = otoscope.observed(
        otoscope.Upload(file.getvalue(), "P", "left", device="a"), KEY, NOW, source="door-http"
    )
    again, _, _ = otoscope.observed(
        otoscope.Upload(stored, "P", "left", stat=True), KEY, NOW + timedelta(days=1), source="door-folder"
    )
    other, _, _ = otoscope.observed(otoscope.Upload(stored, "P", "right"), KEY, NOW, source="door-http")
    assert kept == stored
    assert uri.endswith(ids.sha256_hex(stored))
    assert first.event_id == again.event_id != other.event_id


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", b"\xff\xd8\xff", bare_picture.PNG_START]))
def test_bytes_that_are_no_picture_are_refused_with_a_reason(data: bytes, start: bytes) -> None:
    with pytest.raises(Unprocessable, match=r"picture"):
        bare_picture.bare(start + data)


@settings(deadline=None)
@given(
    st.text(min_size=1, max_size=20).filter(str.strip), st.text(max_size=20), st.text(min_size=1), st.text(min_size=1)
)
def test_an_assessment_is_one_event_for_its_key(clinician: str, label: str, once: str, other: str) -> None:
    said = review.Assessment(verdict="rejected", clinician=clinician, label=label)
    shouted = review.Assessment(verdict="rejected", clinician=f" {clinician} ", label=label)
    first, _ = review.assessed(RESULT, said, once, KEY, NOW)
    again, _ = review.assessed(RESULT, shouted, once, KEY, NOW + timedelta(hours=1))
    another, _ = review.assessed(RESULT, said, other, KEY, NOW)
    assert first.override_id == again.override_id
    assert (first.override_id == another.override_id) == (once == other)
