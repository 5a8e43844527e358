"""DICOMweb against a door on fakes: bodies as senders write them, and a table of stored objects in memory."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from adapters.database.instances import Found, Level, Located, Match
from adapters.fakes.blobs import FakeBlobs
from adapters.fakes.clock import FakeClock
from adapters.fakes.publisher import FakePublisher
from producers import http
from producers.dicomweb_access import Access
from producers.door import Door, Limits

KEY = b"k" * 32
BOUNDARY = "a-boundary"
RELATED = {"content-type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'}


def related(*files: bytes, media_type: str = "application/dicom") -> bytes:
    """The files as one body."""
    head = f"--{BOUNDARY}\r\nContent-Type: {media_type}\r\n\r\n".encode()
    return b"".join(head + file + b"\r\n" for file in files) + f"--{BOUNDARY}--\r\n".encode()


@dataclass
class KnownObjects:
    """What searches and retrievals find, whatever they ask for; notes what they asked for."""

    found: list[Found] = field(default_factory=list)
    located: list[Located] = field(default_factory=list)
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    async def search(
        self, level: Level, matches: Sequence[Match], *, limit: int, offset: int, by_whom: str
    ) -> list[Found]:
        """All of them."""
        self.asked.append((level, tuple(matches), limit, offset))
        return self.found

    async def locate(self, matches: Sequence[Match], *, by_whom: str) -> list[Located]:
        """All of them."""
        self.asked.append(tuple(matches))
        return self.located


class Web:
    """A caller of a door on fakes."""

    def __init__(self, access: Access | None = None, base: str = "http://127.0.0.1:8080") -> None:
        self.publisher, self.blobs, self.clock = FakePublisher(), FakeBlobs(), FakeClock()
        self.door = Door(self.publisher, self.blobs, self.clock, Limits(0.05, 1000))
        self.known = KnownObjects()
        stored = http.Stored(self.known, self.blobs)
        app = http.build(self.door, KEY, self.clock, access=access, stored=stored)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base)

    async def store(self, *files: bytes, study: str = "", **headers: str) -> httpx.Response:
        """One STOW-RS request."""
        path = f"/studies/{study}" if study else "/studies"
        return await self.client.post(path, content=related(*files), headers={**RELATED, **headers})


@asynccontextmanager
async def web(access: Access | None = None, base: str = "http://127.0.0.1:8080") -> AsyncIterator[Web]:
    """A caller of a door that is open."""
    found = Web(access, base)
    await found.publisher.start()
    try:
        yield found
    finally:
        await found.client.aclose()
        await asyncio.sleep(0)
