"""Glucose over HTTP on fakes: uploaders' entries, plain readings, credentials, units, bounds, lanes (S1, CC11)."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from adapters import telemetry
from producers import cgm
from schemas import ids, topics
from schemas.errors import DatabaseUnavailable, OutOfRange, Unprocessable
from schemas.events import GlucoseObserved
from tests.support.http_door import Client, at_the_door

SECRET, SUBJECT = "a secret of the wearer", "sub-wearer"
SHA1 = hashlib.sha1(SECRET.encode()).hexdigest()
LIVE, BACKFILL = topics.OBSERVED_GLUCOSE_LIVE, topics.OBSERVED_GLUCOSE_BACKFILL
NOW_MS = 1_700_000_000_000


@pytest.fixture
async def app() -> AsyncIterator[Client]:
    """An uploader's app that has a credential."""
    async with at_the_door() as found:
        found.wearers.add(SECRET, SUBJECT)
        await found.clock.advance(1)
        yield found


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "type": "sgv",
        "sgv": 120,
        "date": NOW_MS,
        "direction": "Flat",
        "noise": 1,
        "device": "xDrip-G6",
        **changes,
    }


async def send(app: Client, body: Any, path: str = "/api/v1/entries.json") -> Any:
    answer = await app.post(path, body, api_secret=SHA1)
    assert answer.status_code == 200
    return answer.json()


@pytest.mark.parametrize("path", ["/api/v1/entries", "/api/v1/entries.json"])
async def test_one_entry_becomes_one_event_of_its_wearer_and_is_answered_as_an_array(app: Client, path: str) -> None:
    (answer,) = await send(app, entry(), path)
    (event,) = app.events(LIVE, GlucoseObserved)
    assert answer["_id"] == str(event.event_id)
    assert answer["sgv"] == 120
    assert event.subject_id == SUBJECT
    assert event.object_id == ids.reading_object_id(SUBJECT, event.measured_at)
    assert event.content == ids.reading_content(120.0)
    assert event.event_id == ids.event_id(event.object_id, event.content)
    assert (event.glucose_mg_dl, event.raw_value, event.raw_unit) == (120.0, 120.0, "mg/dL")
    assert (event.trend, event.device, event.sender) == ("Flat", "xDrip-G6", "nightscout")
    assert app.publisher.topics[LIVE][0].key == SUBJECT.encode()


@pytest.mark.parametrize("body", [{}, []])
async def test_nothing_is_answered_with_nothing(app: Client, body: Any) -> None:
    assert await send(app, body) == []


async def test_the_same_reading_is_one_event_whatever_the_device_calls_itself_and_whichever_unit_it_sends(
    app: Client,
) -> None:
    exact = 99 / cgm.MG_DL_A_MMOL_L
    entries = [
        entry(sgv=99),
        entry(sgv="99", device="another phone", direction="NONE"),
        entry(sgv=exact, units="mmol/L"),
        {"sgv": 99, "dateString": "2023-11-14T23:13:20.000+01:00"},
    ]
    answers = await send(app, entries)
    assert len({answer["_id"] for answer in answers}) == 1
    assert len(app.events(LIVE, GlucoseObserved)) == 1


async def test_finger_sticks_and_calibrations_are_answered_and_not_taken(app: Client) -> None:
    answers = await send(app, [entry(type="mbg", mbg=99), entry(type="cal"), entry()])
    assert ["_id" in answer for answer in answers] == [False, False, True]
    assert len(app.events(LIVE, GlucoseObserved)) == 1
    assert topics.DEAD_UNPROCESSABLE not in app.publisher.topics


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"sgv": 5.5}, "looks like mmol/L"),
        ({"sgv": 9}, "looks like mmol/L"),
        ({"sgv": 601}, "outside 10 to 600"),
        ({"sgv": 0.4, "units": "mmol/L"}, "outside 10 to 600"),
        ({"sgv": 99, "units": "mmol"}, "outside 10 to 600"),
        ({"sgv": "high"}, "sgv is not a number"),
        ({"sgv": None}, "sgv is not a number"),
        ({"units": "g/l"}, "units"),
        ({"date": NOW_MS // 1000}, "milliseconds"),
        ({"date": NOW_MS + 700_000}, "future"),
        ({"date": None}, "dateString"),
        ({"date": 1e300}, "date"),
        ({"date": None, "dateString": "2023-11-14T22:13:20"}, "zone"),
        ({"date": None, "dateString": "yesterday"}, "ISO 8601"),
    ],
)
async def test_an_entry_that_cannot_be_right_is_refused_with_its_reason_and_kept_aside_and_harms_no_neighbour(
    app: Client, changes: dict[str, Any], reason: str
) -> None:
    refused, taken = await send(app, [entry(**changes), entry()])
    assert reason in refused["refused"]
    assert "_id" not in refused
    assert "_id" in taken
    (letter,) = app.publisher.topics[topics.DEAD_UNPROCESSABLE]
    headers = dict(letter.headers)
    assert reason in headers["dead_reason"].decode()
    assert len(app.events(LIVE, GlucoseObserved)) == 1


@pytest.mark.parametrize(
    ("value", "clipped"), [(39, "low"), (40, "low"), (41, ""), (399, ""), (400, "high"), (401, "high")]
)
def test_a_value_at_a_sensors_limit_is_a_bound(value: float, clipped: str) -> None:
    assert cgm.bound(value) == clipped


def test_a_bound_is_another_content_than_the_same_number_measured() -> None:
    assert ids.reading_content(400.0, "high") != ids.reading_content(400.0)


def test_mmol_is_converted_once_by_the_molar_mass_of_glucose() -> None:
    assert cgm.in_mg_dl(5.5, "mmol/L") == 99.1
    assert cgm.in_mg_dl(10, "mmol/L") == 180.2
    with pytest.raises(OutOfRange):
        cgm.in_mg_dl(float("nan"), "mmol/L")


@pytest.mark.parametrize(("age", "topic"), [(0, LIVE), (899, LIVE), (900, LIVE), (902, BACKFILL), (86_400, BACKFILL)])
async def test_readings_older_than_a_quarter_of_an_hour_go_to_the_backfill(app: Client, age: int, topic: str) -> None:
    await send(app, entry(date=NOW_MS + 1000 - age * 1000))
    assert list(app.publisher.topics) == [topic]


async def test_a_backfill_of_thousands_is_one_post(app: Client) -> None:
    answers = await send(app, [entry(date=NOW_MS - number * 300_000) for number in range(3000)])
    assert len({answer["_id"] for answer in answers}) == 3000


@pytest.mark.parametrize("where", ["header, hashed", "header, plain", "query"])
async def test_the_secret_or_its_hash_selects_the_wearer(app: Client, where: str) -> None:
    headers = {"api_secret": SHA1.upper() if "hashed" in where else SECRET} if "header" in where else {}
    url = "/api/v1/entries" + ("" if headers else f"?token={SECRET}")
    assert (await app.post(url, entry(), **headers)).status_code == 200


@pytest.mark.parametrize("presented", ["", "short", "another secret entirely", "0" * 40])
async def test_who_has_no_credential_is_told_so_and_each_failure_of_an_address_takes_longer(
    app: Client, presented: str
) -> None:
    started = app.clock.monotonic()
    waits = []
    for _ in range(3):
        before = app.clock.monotonic()
        asked = asyncio.ensure_future(app.post("/v1/glucose", [], api_secret=presented))
        while not asked.done():
            await app.clock.advance(0.05)
        waits.append(app.clock.monotonic() - before)
        assert asked.result().status_code == 401
    assert waits[0] < waits[1] < waits[2]
    assert app.clock.monotonic() > started
    assert (await app.post("/v1/glucose", [], api_secret=SECRET)).status_code == 200, "who knows a secret never waits"


async def test_too_many_guesses_at_once_are_refused_at_once(app: Client) -> None:
    asked = [asyncio.ensure_future(app.post("/v1/glucose", [], api_secret="short")) for _ in range(8)]
    while not all(each.done() for each in asked):
        await app.clock.advance(1)
    statuses = sorted(each.result().status_code for each in asked)
    assert statuses.count(401) == 4
    assert statuses.count(429) == 4


async def test_a_credential_that_was_just_made_opens_and_a_revoked_one_stops_after_the_next_look(app: Client) -> None:
    await send(app, entry())
    app.wearers.add("another wearers secret", "sub-other")
    reads = app.wearers.reads
    asked = [asyncio.ensure_future(app.post("/v1/glucose", [], api_secret="another wearers secret")) for _ in range(9)]
    while not all(each.done() for each in asked):
        await app.clock.advance(0.2)
    assert {each.result().status_code for each in asked} == {200}, "also within a second of the last look"
    assert app.wearers.reads == reads + 1, "one look serves all who wait"
    del app.wearers.rows[0]
    await app.book.refresh()
    with_revoked = asyncio.ensure_future(app.post("/v1/glucose", [], api_secret=SECRET))
    while not with_revoked.done():
        await app.clock.advance(0.1)
    assert with_revoked.result().status_code == 401


async def test_while_the_database_is_away_the_known_are_taken_and_a_door_that_never_knew_says_try_again(
    app: Client,
) -> None:
    app.wearers.away = True
    answer = await app.post("/api/v1/entries", entry(), api_secret=SECRET)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    app.wearers.away = False
    await app.clock.advance(1)
    await send(app, entry())
    app.wearers.away = True
    with pytest.raises(DatabaseUnavailable):
        await app.book.refresh()
    await send(app, entry(sgv=121))
    assert len(app.events(LIVE, GlucoseObserved)) == 2


async def test_one_that_was_added_just_before_the_database_went_away_is_told_to_try_again(app: Client) -> None:
    await send(app, entry())
    app.wearers.add("a secret that is new", "n" * 32)
    app.wearers.away = True
    early = asyncio.create_task(app.post("/api/v1/entries", entry(sgv=121), api_secret="a secret that is new"))
    while not early.done():
        await app.clock.advance(0.1)
    assert early.result().status_code == 503
    app.wearers.away = False
    late = asyncio.create_task(app.post("/api/v1/entries", entry(sgv=121), api_secret="a secret that is new"))
    while not late.done():
        await app.clock.advance(0.1)
    assert late.result().status_code == 200


async def test_plain_readings_each_have_their_result(app: Client) -> None:
    at = app.clock.now()
    readings = [
        {"measured_at": at.isoformat(), "value": 5.5, "unit": "mmol/L"},
        {"measured_at": at.isoformat(), "value": 5.5, "unit": "mg/dL"},
        {"measured_at": at.replace(tzinfo=None).isoformat(), "value": 99, "unit": "mg/dL"},
        {"measured_at": at.isoformat(), "value": 99, "unit": "mg/dL", "simulatd": True},
        {"measured_at": (at - timedelta(hours=1)).isoformat(), "value": 400, "unit": "mg/dL", "simulated": True},
    ]
    answer = await app.post("/v1/glucose", readings, api_secret=SECRET)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["status"] for result in results] == ["accepted", "refused", "refused", "refused", "accepted"]
    (live,), (late,) = app.events(LIVE, GlucoseObserved), app.events(BACKFILL, GlucoseObserved)
    assert [results[0]["event_id"], results[4]["event_id"]] == [str(live.event_id), str(late.event_id)]
    assert (live.glucose_mg_dl, live.raw_value, live.raw_unit) == (99.1, 5.5, "mmol/L")
    assert late.simulated
    assert late.clipped == "high"
    assert late.object_id.startswith(ids.SIMULATED)
    assert (await app.post("/v1/glucose", readings[1], api_secret=SECRET)).status_code == 422


async def test_what_is_not_json_or_too_much_is_told_so(app: Client) -> None:
    assert (await app.post("/api/v1/entries", b"{", api_secret=SECRET)).status_code == 400
    assert (await app.post("/api/v1/entries", b"[" + b"{}," * 10_000 + b"{}]", api_secret=SECRET)).status_code == 413
    assert (await app.post("/v1/glucose", b"a,b", api_secret=SECRET, content_type="text/csv")).status_code == 415


async def test_entries_are_counted_by_their_fate(app: Client) -> None:
    def count(fate: str) -> float:
        return telemetry.metrics().registry.get_sample_value("clinstream_glucose_entries_total", {"fate": fate}) or 0.0

    fates = ("live", "backfill", "refused", "left")
    before = [count(fate) for fate in fates]
    await send(app, [entry(), entry(date=NOW_MS - 10**7), entry(sgv=5), entry(type="cal"), entry(type="mbg")])
    assert [count(fate) - was for fate, was in zip(fates, before, strict=True)] == [1, 1, 1, 2]


async def test_a_broker_that_is_away_means_503(app: Client) -> None:
    await send(app, entry())
    app.publisher.away = True
    answer = await app.post("/api/v1/entries", entry(sgv=121), api_secret=SECRET)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_device_string_that_no_database_holds_does_no_harm(app: Client) -> None:
    await send(app, entry(device="a\0b"))
    (event,) = app.events(LIVE, GlucoseObserved)
    assert event.device == "ab"


def test_an_entry_that_is_no_object_is_refused() -> None:
    with pytest.raises(Unprocessable):
        cgm.entry(7)
