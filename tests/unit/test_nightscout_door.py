"""The Nightscout interfaces of the HTTP door on fakes: credentials, compressed bodies, queries, limits (GL3, GL15)."""

import asyncio
import base64
import gzip
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from producers import finding
from producers.replies import MAX_BODY_BYTES, Early
from schemas import topics
from schemas.events import GlucoseObserved
from tests.support.http_door import Client, at_the_door

SECRET, SUBJECT = "a secret of the wearer", "sub-wearer"
SHA1 = hashlib.sha1(SECRET.encode()).hexdigest()
NOW_MS = 1_700_000_000_000
ME = {"api-secret": SHA1}


@pytest.fixture
async def app() -> AsyncIterator[Client]:
    """An app that has a credential; another wearer's has one too."""
    async with at_the_door() as found:
        found.wearers.add(SECRET, SUBJECT)
        found.wearers.add("secret of another", "sub-other")
        await found.clock.advance(1)
        yield found


async def get(app: Client, path: str, headers: dict[str, str] = ME) -> Any:
    answer = await app.client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def upload(app: Client, *entries: dict[str, Any], headers: dict[str, str] = ME) -> list[Any]:
    """Posts entries and lets them be recorded."""
    answer = await app.client.post("/api/v1/entries.json", json=list(entries), headers=headers)
    assert answer.status_code == 200
    for topic in topics.OBSERVED_GLUCOSE.values():
        app.shelf.record(*app.events(topic, GlucoseObserved))
    return list(answer.json())


def entry(ago_s: int = 0, sgv: float = 120, **more: Any) -> dict[str, Any]:
    return {"type": "sgv", "sgv": sgv, "date": NOW_MS - ago_s * 1000, "device": "a sensor", **more}


def basic(user: str, password: str = "") -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


async def refused(app: Client, path: str, headers: dict[str, str]) -> Any:
    asked = asyncio.ensure_future(app.client.get(path, headers=headers))
    while not asked.done():
        await app.clock.advance(0.5)
    return asked.result()


@pytest.mark.parametrize(
    "headers",
    [
        {"api-secret": SECRET},
        ME,
        basic(SECRET),
        basic(SHA1),
        basic("", SECRET),
        basic("me", SECRET),
        {"authorization": f"Bearer {SECRET}"},
    ],
)
async def test_a_credential_selects_its_wearer_however_it_comes(app: Client, headers: dict[str, str]) -> None:
    await upload(app, entry())
    await upload(app, entry(0, 99), headers={"api-secret": "secret of another"})
    assert [row["sgv"] for row in await get(app, "/api/v1/entries.json", headers)] == [120]
    for name in ("token", "secret"):
        assert [row["sgv"] for row in await get(app, f"/api/v1/entries.json?{name}={SECRET}", {})] == [120]


@pytest.mark.parametrize(
    ("path", "headers", "said"),
    [
        ("/api/v1/entries.json", {}, "API v1: no credential came"),
        ("/api/v1/experiments/test", {"api-secret": "short"}, "API v1: the credential is shorter than 12"),
        ("/api/v1/treatments.json", {"api-secret": "0" * 40}, "API v1: no wearer has this credential"),
        ("/api/v3/status", {"authorization": "Bearer a.b.c"}, "API v3: the token is not ours or has expired"),
        ("/api/v3/entries", basic("nobody", "of whom we know"), "API v3: no wearer has this credential"),
        ("/api/v2/authorization/request/too-short", {}, "API v2: the credential is shorter"),
    ],
)
async def test_a_failure_says_which_interface_was_asked_and_why(
    app: Client, path: str, headers: dict[str, str], said: str
) -> None:
    before = app.clock.monotonic()
    answer = await refused(app, path, headers)
    assert answer.status_code == 401
    assert said in json.dumps(answer.json())
    assert app.clock.monotonic() - before >= 0.25, "guessing takes time"


async def test_apps_that_only_ask_whether_a_credential_is_good_are_told(app: Client) -> None:
    found = await get(app, "/api/v1/verifyauth")
    assert (found["message"]["canWrite"], found["message"]["message"]) == (True, "OK")
    found = (await refused(app, "/api/v1/verifyauth", {"api-secret": "a wrong secret"})).json()
    assert (found["message"]["canRead"], found["message"]["message"]) == (False, "UNAUTHORIZED")


async def test_a_token_ends_with_its_time_and_with_its_credential(app: Client) -> None:
    token = (await get(app, f"/api/v2/authorization/request/{SECRET}", {}))["token"]
    bearer = {"authorization": f"Bearer {token}"}
    await get(app, "/api/v3/status", bearer)
    forged = token[:-2] + ("AA" if token[-2:] != "AA" else "BB")
    assert (await refused(app, "/api/v3/status", {"authorization": f"Bearer {forged}"})).status_code == 401
    row = app.wearers.rows.pop(0)
    await app.book.refresh()
    assert (await refused(app, "/api/v3/status", bearer)).status_code == 401
    app.wearers.rows.append(row)
    await app.book.refresh()
    await get(app, "/api/v3/status", bearer)
    await app.clock.advance(9 * 3600)
    assert (await refused(app, "/api/v3/status", bearer)).status_code == 401


async def test_a_compressed_body_is_read_and_a_bomb_is_not(app: Client) -> None:
    async def post(content: bytes, coding: str = "gzip") -> int:
        headers = {**ME, "content-encoding": coding}
        return (await app.client.post("/api/v1/entries", content=content, headers=headers)).status_code

    assert await post(gzip.compress(json.dumps([entry()]).encode())) == 200
    assert await post(gzip.compress(b" " * (MAX_BODY_BYTES + 1))) == 413
    assert await post(b"not gzip") == 400
    assert await post(gzip.compress(b"[" + b"{}," * 100)[:-9]) == 400
    assert await post(b"[]", "br") == 415


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", [120, 110, 100]),
        ("?count=1", [120]),
        ("?count=all", [120, 110, 100]),
        (f"?find[date][$gte]={NOW_MS - 300_000}", [120, 110]),
        (f"?find[date][$gt]={NOW_MS - 300_000}", [120]),
        (f"?find[date][$lt]={NOW_MS}&find[date][$gte]={NOW_MS - 600_000}&count=1", [110]),
        ("?find[dateString][$gte]=2023-11-14T22:08:20.000Z", [120, 110]),
        ("?find[dateString][$lte]=2023-11-14", []),
        ("?find[sgv][$gte]=110&find[type]=sgv", [120, 110]),
        ("?find[sgv][$in]=100,120", [120, 100]),
        ("?find[type]=mbg", []),
        ("?find[device][$ne]=a sensor", []),
        ("?find[noise][$exists]=true", []),
    ],
)
async def test_readings_are_found_as_nightscout_finds_them(app: Client, query: str, found: list[int]) -> None:
    await upload(app, entry(0, 120), entry(300, 110), entry(600, 100))
    assert [row["sgv"] for row in await get(app, "/api/v1/entries.json" + query)] == found


async def test_reads_return_what_was_uploaded_and_no_more(app: Client) -> None:
    """Value, unit and device as they came; nothing between two readings, nothing after the last."""
    sent = [entry(0, 5.5, units="mmol/L", device="x" * 200), entry(3600, 401, direction="DoubleUp")]
    ids = [row["_id"] for row in await upload(app, *sent)]
    newest, oldest = await get(app, "/api/v1/entries/sgv.json?count=100")
    assert (newest["sgv"], newest["units"], newest["device"], newest["_id"]) == (5.5, "mmol/L", "x" * 200, ids[0])
    assert (oldest["sgv"], oldest["units"], oldest["direction"]) == (401, "mg/dL", "DoubleUp")
    assert await get(app, "/api/v1/entries/current.json") == [newest]
    assert await get(app, f"/api/v1/entries/{ids[1]}") == [oldest]
    assert await get(app, "/api/v1/entries/mbg.json") == []
    allowed = {"_id", "type", "sgv", "date", "dateString", "sysTime", "units", "utcOffset", "direction", "device"}
    assert set(newest) | set(oldest) <= allowed


FORESEEN = ("predicted", "predBGs", "openaps", "loop", "forecast", "eventualBG", "horizon", "interval")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/entries.json?count=all",
        "/api/v1/entries/current",
        "/api/v1/devicestatus.json",
        "/api/v1/treatments.json",
        "/api/v1/profile.json",
        "/api/v1/status.json",
        "/api/v3/entries",
        "/api/v3/entries/history/0",
        "/api/v3/devicestatus",
        "/api/v3/devicestatus/history/0",
        "/api/v3/lastModified",
        "/fhir/Observation",
    ],
)
async def test_no_read_foresees_anything_under_keys_that_looping_apps_dose_on(app: Client, path: str) -> None:
    """GL14: an app that doses reads nothing here but what a sensor or an app has sent."""
    await upload(app, *(entry(300 * n, 100 + n) for n in range(40)))
    text = json.dumps(await get(app, path))
    assert not [word for word in FORESEEN if word.lower() in text.lower()]


async def test_readings_and_documents_are_taken_back_by_their_id(app: Client) -> None:
    (made,) = await upload(app, entry())
    assert (await app.client.delete(f"/api/v1/entries/{made['_id']}", headers=ME)).json()["n"] == 1
    deleted = app.events(topics.OBSERVED_GLUCOSE_LIVE, GlucoseObserved)[-1]
    assert deleted.deleted
    app.shelf.record(deleted)
    assert await get(app, "/api/v1/entries.json") == []
    assert (await app.client.delete(f"/api/v1/entries/{made['_id']}", headers=ME)).json()["n"] == 0


async def test_a_wearer_never_reads_or_deletes_anothers(app: Client) -> None:
    """GL2"""
    other = {"api-secret": "secret of another"}
    (made,) = await upload(app, entry())
    await app.client.post("/api/v1/treatments", json={"_id": "t", "carbs": 1}, headers=ME)
    assert await get(app, "/api/v1/entries.json", other) == []
    assert await get(app, "/api/v1/treatments.json", other) == []
    assert (await app.client.delete(f"/api/v1/entries/{made['_id']}", headers=other)).json()["n"] == 0
    assert (await app.client.delete("/api/v1/treatments/t", headers=other)).json()["n"] == 0
    assert (await app.client.get(f"/api/v3/entries/sgv-{NOW_MS}", headers=other)).status_code == 404
    assert len(await get(app, "/api/v1/treatments.json")) == 1


@pytest.mark.parametrize("item", [7, {"notes": "\x00"}, {"_id": "x" * 200}, {"notes": "x" * 1_000_001}])
async def test_a_document_that_cannot_be_kept_is_refused(app: Client, item: Any) -> None:
    answer = await app.client.post("/api/v1/treatments", json=[item], headers=ME)
    assert answer.status_code == 400
    assert "document" in answer.json()["description"]


@pytest.mark.parametrize("query", ["find[date][$where]=1", "find[date", "find[notes][$regex]=(a%2B)%2B"])
def test_a_query_that_is_not_understood_is_not_guessed(query: str) -> None:
    with pytest.raises(Early):
        finding.v1([(query.partition("=")[0], "1")])


async def test_a_client_that_asks_too_often_waits_and_harms_no_other(app: Client) -> None:
    """GL15"""
    answers = [await app.client.get("/api/v1/entries.json", headers=ME) for _ in range(510)]
    assert [answer.status_code for answer in answers[:500]] == [200] * 500
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert "API v1" in answers[-1].json()["description"]
    await get(app, "/api/v1/entries.json", {"api-secret": "secret of another"})
    await app.clock.advance(1)
    await get(app, "/api/v1/entries.json")


async def test_while_the_database_is_away_reads_say_try_again_and_uploads_go_on(app: Client) -> None:
    await upload(app, entry())
    app.shelf.down = True
    for path in ("/api/v1/entries.json", "/api/v1/treatments.json", "/api/v3/lastModified", "/api/v3/entries"):
        answer = await app.client.get(path, headers=ME)
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
    assert (await app.client.post("/api/v1/entries", json=entry(300), headers=ME)).status_code == 200
    assert (await app.client.post("/api/v1/treatments", json={"carbs": 1}, headers=ME)).status_code == 503
