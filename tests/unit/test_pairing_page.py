"""The pairing page on fakes: what each app is told, and what is said of the readings that arrive."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from urllib.parse import unquote

import pytest
from fastapi import Response

from schemas import topics
from schemas.events import GlucoseObserved
from tests.support.http_door import Client, at_the_door

SECRET, SUBJECT = "a secret <of> the wearer", "sub-wearer"


@pytest.fixture
async def app() -> AsyncIterator[Client]:
    """A browser of somebody who has a credential."""
    async with at_the_door() as found:
        found.wearers.add(SECRET, SUBJECT)
        await found.clock.advance(1)
        yield found


async def page(app: Client) -> str:
    answer = await app.client.get("/pair", params={"token": SECRET})
    assert answer.status_code == 200
    return answer.text


async def test_without_a_credential_the_page_asks_for_it_and_shows_nothing(app: Client) -> None:
    answer = await app.client.get("/pair")
    assert 'name="token"' in answer.text
    assert "api/v1" not in answer.text
    shown = await app.client.post("/pair", data={"token": SECRET})
    assert shown.status_code == 200
    assert "xDrip+" in shown.text
    assert "no-store" in shown.headers["cache-control"]
    assert "default-src 'none'" in shown.headers["content-security-policy"]


async def test_every_app_gets_its_address_and_a_code_and_nothing_comes_from_elsewhere(app: Client) -> None:
    text = await page(app)
    assert "<code>http://a%20secret%20%3Cof%3E%20the%20wearer@door/api/v1/</code>" in text
    assert "<code>http://door</code>" in text
    assert "<code>a secret &lt;of&gt; the wearer</code>" in text
    assert "<of>" not in text
    sources = re.findall(r'(?:src|href)="?([^" >]+)', text)
    assert len(sources) >= 6
    assert all(unquote(source).startswith("data:image/svg+xml") for source in sources)


async def test_it_says_how_readings_arrive(app: Client) -> None:
    assert "No reading has been received yet." in await page(app)
    now = round(app.clock.time())
    entries = [{"sgv": 100, "date": (now - 300 * n - 3) * 1000, "device": "G6"} for n in range(3)]
    for number in (2, 1, 0):
        await app.post("/api/v1/entries", entries[number], api_secret=SECRET)
    events = app.events(topics.OBSERVED_GLUCOSE_LIVE, GlucoseObserved)
    app.shelf.record(events[0])
    assert "First reading received from G6" in await page(app)
    app.shelf.record(*events)
    await app.clock.advance(12)
    assert "Newest reading received from G6 12 s ago, every 5 min, clock -3 s." in await page(app)
    row = app.shelf.rows[SUBJECT][-1]
    assert row.observed_at - row.measured_at == timedelta(seconds=3)


async def test_a_wrong_credential_sees_nothing(app: Client) -> None:

    asked: asyncio.Future[Response] = asyncio.ensure_future(app.client.get("/pair?token=not-the-secret"))  # type: ignore[arg-type]
    while not asked.done():
        await app.clock.advance(0.5)
    assert asked.result().status_code == 401
