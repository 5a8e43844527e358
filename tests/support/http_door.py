"""The HTTP door on fakes: a client of its application, the records that it published, uploaders that it knows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from uuid import uuid4

import httpx
import msgspec

from adapters.fakes.blobs import FakeBlobs
from adapters.fakes.clock import FakeClock
from adapters.fakes.publisher import FakePublisher
from adapters.fakes.shelf import FakeShelf
from adapters.wearers import Credential, WearerBook, digest, salted
from producers import http
from producers.door import Door, Limits
from producers.wearer_routes import Wearers
from schemas import envelope
from schemas.errors import DatabaseUnavailable
from schemas.events import Base

KEY = b"k" * 32
E = TypeVar("E", bound=Base)


class KnownWearers:
    """A table of credentials in memory; `away` makes it fail."""

    def __init__(self) -> None:
        self.rows: list[Credential] = []
        self.away = False
        self.reads = 0

    async def credentials(self) -> list[Credential]:
        """All of them."""
        self.reads += 1
        if self.away:
            raise DatabaseUnavailable("away")
        return list(self.rows)

    def add(self, secret: str, subject_id: str) -> None:
        """One more."""
        salt = secret.encode()[:8]
        sha1 = digest(secret)
        assert sha1
        self.rows.append(Credential(uuid4(), subject_id, "W", salt, salted(salt, sha1), FakeClock().now()))


class Client:
    """A sender in front of a door on fakes."""

    def __init__(self) -> None:
        self.publisher, self.blobs, self.clock = FakePublisher(), FakeBlobs(), FakeClock()
        self.door = Door(self.publisher, self.blobs, self.clock, Limits(0.05, 1000))
        self.wearers = KnownWearers()
        self.book = WearerBook(self.wearers, self.clock)
        self.shelf = FakeShelf(self.clock)
        app = http.build(self.door, KEY, self.clock, Wearers(self.book, self.shelf, hold_s=0.0))
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://door")

    async def post(self, url: str, body: Any, **headers: str) -> httpx.Response:
        """JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(url, content=content, headers={"content-type": "application/json", **named})

    def events(self, topic: str, kind: type[E]) -> list[E]:
        """What came onto a topic."""
        return [envelope.read(kind, message.value) for message in self.publisher.topics.get(topic, [])]


@asynccontextmanager
async def at_the_door() -> AsyncIterator[Client]:
    """A client of a door that is open."""
    found = Client()
    await found.publisher.start()
    try:
        yield found
    finally:
        await found.client.aclose()
