"""Files that wearers have at the HTTP door: the readings of `send cgm`, each line its own result, once (GL1, GL3)."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from clinstream.sending import cgm as recordings
from clinstream.sending.posting import Row
from producers import cgm, minutes, wearer_files
from schemas import topics
from schemas.events import GlucoseObserved
from tests.support.http_door import Client, at_the_door

SECRET, SUBJECT = "the-wearers-own-secret", "sub-wearer"
ROUTE = "/v1/glucose/files?zone=Europe/Berlin"
DAY = "2023-11-14"
HEAD = "Index,Timestamp (YYYY-MM-DDThh:mm:ss),Event Type,Device Info,Glucose Value (mg/dL)\n"
CLARITY = (
    HEAD + f"1,,FirstName,,Somebody\n2,{DAY}T10:00:00,EGV,,118\n3,{DAY}T10:05:00,EGV,,Low\n4,{DAY}T10:10:00,EGV,,9\n"
    "5,yesterday,EGV,,120\n"
)


@pytest.fixture
async def app() -> AsyncIterator[Client]:
    """A browser of somebody who has a credential."""
    async with at_the_door() as found:
        found.wearers.add(SECRET, SUBJECT)
        await found.clock.advance(1)
        yield found


def observed(app: Client) -> list[GlucoseObserved]:
    return app.events(topics.OBSERVED_GLUCOSE_BACKFILL, GlucoseObserved)


async def late(app: Client, asked: Awaitable[httpx.Response]) -> httpx.Response:
    """An answer that a failed attempt waits for."""
    waiting = asyncio.ensure_future(asked)
    while not waiting.done():
        await app.clock.advance(0.5)
    return waiting.result()


async def test_each_line_has_its_result_and_a_bad_one_harms_no_neighbour(app: Client) -> None:
    answer = await app.post(ROUTE, CLARITY.encode(), api_secret=SECRET, content_type="text/csv")
    assert answer.status_code == 200
    told: dict[str, Any] = answer.json()
    assert (told["accepted"], told["refused"], told["unreadable"]) == (2, 1, 1)
    assert [(row["line"], row["status"]) for row in told["results"]] == [
        (3, "accepted"),
        (4, "accepted"),
        (5, "refused"),
        (6, "unreadable"),
    ]
    assert "mmol/L" in told["results"][2]["reason"]
    first, second = observed(app)
    assert [str(event.event_id) for event in (first, second)] == [row["event_id"] for row in told["results"][:2]]
    assert (first.subject_id, first.glucose_mg_dl, first.measured_at.hour) == (SUBJECT, 118.0, 9)
    assert (second.clipped, second.glucose_mg_dl, second.sender) == ("low", 40.0, "file")


async def test_a_second_upload_and_send_cgm_name_the_same_events(app: Client, tmp_path: Path) -> None:
    """GL3: one reading is one row whoever uploads it and however often."""
    for _ in range(2):
        await app.post(ROUTE, CLARITY.encode(), api_secret=SECRET, content_type="text/csv")
    path = tmp_path / "export.csv"
    path.write_text(CLARITY)
    rows = [row for row in recordings.load(path, zone=recordings.zone("Europe/Berlin")) if isinstance(row, Row)][:2]
    sent = {cgm.observed(cgm.plain(row.body), SUBJECT, app.clock.now(), "http")[0].event_id for row in rows}
    assert {event.event_id for event in observed(app)} == sent
    assert len(observed(app)) == 4


async def test_a_minute_that_libreview_tells_twice_is_one_reading_with_one_result(app: Client) -> None:
    """GL3: the automatic record counts, and the file handed in again names the same events."""
    rows = "".join(f"FreeStyle Libre 2,14-11-2023 10:0{row}\n" for row in ("0,1,,121", "0,0,118,", "1,1,,125"))
    text = "Device,Device Timestamp,Record Type,Historic Glucose mg/dL,Scan Glucose mg/dL\n" + rows
    for _ in range(2):
        answer = await app.post(ROUTE, text.encode(), api_secret=SECRET, content_type="text/csv")
        assert [(row["line"], row["status"]) for row in answer.json()["results"]] == [(3, "accepted"), (4, "accepted")]
    first, second, *again = observed(app)
    assert [(event.glucose_mg_dl, event.measured_at.minute) for event in (first, second)] == [(118.0, 0), (125.0, 1)]
    assert [event.event_id for event in again] == [first.event_id, second.event_id]


async def test_a_minute_of_which_an_app_told_the_second_gets_no_second_reading_from_libreview(app: Client) -> None:
    """GL3: whoever uploads it; simulated readings have a row of their own, and another minute its reading."""
    live = {"type": "sgv", "sgv": 119, "date": 1_699_952_423_000, "device": "app"}  # 09:00:23 in UTC
    assert (await app.post("/api/v1/entries", [live], api_secret=SECRET)).status_code == 200
    (told,) = app.events(topics.OBSERVED_GLUCOSE_BACKFILL, GlucoseObserved)
    app.shelf.record(told)
    rows = "".join(f"FreeStyle Libre 2,14-11-2023 10:0{minute},0,118,\n" for minute in (0, 1))
    text = "Device,Device Timestamp,Record Type,Historic Glucose mg/dL,Scan Glucose mg/dL\n" + rows
    answer = await app.post(ROUTE, text.encode(), api_secret=SECRET, content_type="text/csv")
    first, second = answer.json()["results"]
    assert (first["event_id"], first["status"], first["reason"]) == (
        str(told.event_id),
        "accepted",
        minutes.WITH_SECONDS,
    )
    assert [event.measured_at.minute for event in observed(app)] == [0, 1]
    assert str(observed(app)[-1].event_id) == second["event_id"]
    await app.post(ROUTE + "&simulated=true", text.encode(), api_secret=SECRET, content_type="text/csv")
    assert len(observed(app)) == 4


async def test_send_cgm_of_libreview_adds_nothing_to_what_an_app_told_with_seconds_unless_of_another_maker(
    app: Client, tmp_path: Path
) -> None:
    """GL3: one reading is one row whoever uploads it; two sensors of two makers are two, and neighbours stay."""
    sent = [
        {"type": "sgv", "sgv": 119, "date": 1_699_952_423_000, "device": "xDrip-LibreReceiver"},  # 09:00:23 in UTC
        {"type": "sgv", "sgv": 140, "date": 1_699_952_485_000, "device": "xDrip-DexcomG6"},  # 09:01:25
        {"type": "sgv", "sgv": 125, "date": 1_699_952_579_000, "device": ""},  # 09:02:59
    ]
    assert (await app.post("/api/v1/entries", sent, api_secret=SECRET)).status_code == 200
    told = app.events(topics.OBSERVED_GLUCOSE_BACKFILL, GlucoseObserved)
    app.shelf.record(*told)
    rows = "".join(f"FreeStyle Libre 2,14-11-2023 10:0{minute},0,118,\n" for minute in range(4))
    path = tmp_path / "export.csv"
    path.write_text("Device,Device Timestamp,Record Type,Historic Glucose mg/dL,Scan Glucose mg/dL\n" + rows)
    local = recordings.zone("Europe/Berlin")
    loaded = [row for row in recordings.load(path, zone=local) if isinstance(row, Row)]
    bad = {**loaded[0].body, "value": 9}
    answer = await app.post(recordings.ROUTE, [*(row.body for row in loaded), bad], api_secret=SECRET)
    results = answer.json()["results"]
    known = [str(told[0].event_id), None, str(told[2].event_id), None]
    assert [row["event_id"] if row["reason"] == minutes.WITH_SECONDS else None for row in results[:4]] == known
    assert [row["status"] for row in results] == ["accepted"] * 5, "the app's value stands, whatever the file says"
    new = app.events(topics.OBSERVED_GLUCOSE_BACKFILL, GlucoseObserved)[3:]
    assert [(event.measured_at.minute, event.measured_at.second) for event in new] == [(1, 0), (3, 0)]
    for body in (loaded[0].body, *({**loaded[0].body, name: value} for name, value in (("simulated", True),))):
        await app.post(recordings.ROUTE, body, api_secret=SECRET)
    simulated = app.events(topics.OBSERVED_GLUCOSE_BACKFILL, GlucoseObserved)[5:]
    assert [event.simulated for event in simulated] == [True], "a rehearsal has rows of its own"
    moved = recordings.shifted(loaded, app.clock.now())
    assert not any(recordings.TO_THE_MINUTE in row.body for row in moved if isinstance(row, Row))


async def test_readings_that_are_not_cut_are_taken_without_a_look_at_the_shelf(app: Client) -> None:
    """GL2: a sensor may measure twice in one clock minute; and the live path stays short."""
    app.shelf.down = True
    bodies = [{"measured_at": f"2023-11-14T09:00:{second}Z", "value": 118, "unit": "mg/dL"} for second in ("00", "59")]
    assert (await app.post(recordings.ROUTE, bodies, api_secret=SECRET)).status_code == 200
    assert len(observed(app)) == 2
    cut = {**bodies[0], "to_the_minute": True}
    assert (await app.post(recordings.ROUTE, cut, api_secret=SECRET)).status_code == 503


async def test_the_form_of_the_pairing_page_brings_file_zone_and_credential(app: Client) -> None:
    page = (await app.client.post("/pair", data={"token": SECRET})).text
    assert f'action="{wearer_files.PATH}" enctype="multipart/form-data"' in page
    form = {"token": SECRET, "zone": "Europe/Berlin"}
    answer = await app.client.post(wearer_files.PATH, data=form, files={"file": ("e.csv", CLARITY.encode())})
    assert (answer.status_code, answer.json()["accepted"]) == (200, 2)
    wrong = {**form, "token": "another-secret-of-nobody"}
    attempt = app.client.post(wearer_files.PATH, data=wrong, files={"file": ("e.csv", CLARITY.encode())})
    answer = await late(app, attempt)
    assert answer.status_code == 401
    assert len(observed(app)) == 2


@pytest.mark.parametrize(
    ("route", "data", "kind", "status", "reason"),
    [
        ("/v1/glucose/files", CLARITY.encode(), "text/csv", 422, "zone is required"),
        ("/v1/glucose/files?zone=Mars/Olympus", CLARITY.encode(), "text/csv", 422, "no time zone"),
        ("/v1/glucose/files?zone=../../etc/passwd", CLARITY.encode(), "text/csv", 422, "no time zone"),
        (ROUTE, b"time,glucose\n1,2\n", "text/csv", 422, "neither an export"),
        (ROUTE, b"\xff\xfe\x00", "text/csv", 422, "neither an export"),
        (ROUTE, HEAD.replace("mg/dL", "g/L").encode(), "text/csv", 422, "neither mg/dL nor mmol/L"),
        (ROUTE, (HEAD + '"' + "x" * 200_000).encode(), "text/csv", 422, "not CSV"),
        (ROUTE, CLARITY.encode(), "application/json", 415, "text/csv"),
        (ROUTE, b"x" * (wearer_files.MAX_FILE_BYTES + 1), "text/csv", 413, "at most"),
        (ROUTE + "&simulated=perhaps", CLARITY.encode(), "text/csv", 422, "true or false"),
        (ROUTE, b"no form", "multipart/form-data; boundary=b", 400, "cannot be read"),
    ],
)
async def test_what_is_wrong_is_said_and_nothing_is_taken(
    app: Client, route: str, data: bytes, kind: str, status: int, reason: str
) -> None:
    answer = await app.post(route, data, api_secret=SECRET, content_type=kind)
    assert (answer.status_code, reason in answer.json()["error"]) == (status, True), answer.text
    assert observed(app) == []


async def test_without_a_credential_nothing_is_read_and_without_a_reading_that_can_be_taken_it_is_422(
    app: Client,
) -> None:
    assert (await late(app, app.post(ROUTE, CLARITY.encode(), content_type="text/csv"))).status_code == 401
    only = f"{HEAD}1,{DAY}T10:00:00,EGV,,9\n"
    answer = await app.post(ROUTE, only.encode(), api_secret=SECRET, content_type="text/csv")
    assert (answer.status_code, answer.json()["refused"]) == (422, 1)


async def test_a_long_file_is_taken_whole_and_one_that_is_too_long_not_at_all(app: Client) -> None:
    """GL3: backfills of months."""

    def export(count: int) -> bytes:
        first = datetime(2023, 4, 1)  # noqa: DTZ001 - such files tell local times; no change of clocks till the end
        lines = (f"{n},{(first + n * timedelta(minutes=5)).isoformat()},EGV,,100" for n in range(count))
        return (HEAD + "\n".join(lines)).encode()

    answer = await app.post(ROUTE, export(1200), api_secret=SECRET, content_type="text/csv")
    assert answer.json()["accepted"] == len(observed(app)) == 1200
    answer = await app.post(ROUTE, export(wearer_files.MAX_LINES + 1), api_secret=SECRET, content_type="text/csv")
    assert (answer.status_code, "divide it" in answer.json()["error"]) == (422, True)
    assert len(observed(app)) == 1200


async def test_with_the_broker_away_the_whole_file_is_to_come_again(app: Client) -> None:
    app.publisher.away = True
    answer = await app.post(ROUTE, CLARITY.encode(), api_secret=SECRET, content_type="text/csv")
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
