"""The composition root: opens what a process needs, in order, and closes it in reverse; no work is done here.

Everything else receives what it needs as arguments, so this is the one place to read what depends on what.
"""

import os
import sys
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from adapters import pixels, telemetry
from adapters.clock import Clock, SystemClock
from adapters.kafka import KafkaPublisher, Publisher
from adapters.pixels import BlobStore
from adapters.settings import Settings
from schemas.card import ModelCard
from schemas.errors import Conflict

if TYPE_CHECKING:
    from adapters.database import Database
    from adapters.releases import ReleaseBook
    from adapters.triton import Inference
    from adapters.wearers import WearerBook
    from adapters.windows import WindowCache

NEEDS = frozenset({"publisher", "database", "store", "inference", "releases", "decoders", "windows", "wearers"})
# A busy lane has two processes, so half of the cores each, and one thread on two cores: with two threads each, which
# hand the interpreter lock to and fro, an image of 2.4 megapixels cost 23.4 ms of processor time instead of 18.9.
DECODER_THREADS = min(4, max(1, len(os.sched_getaffinity(0)) // 2))
SWITCH_S = 0.0005


@dataclass
class Services:
    """What was opened; asking for something that was not among the needs is a programmer's error (Conflict)."""

    settings: Settings
    clock: Clock
    _opened: dict[str, object] = field(default_factory=dict)

    @property
    def publisher(self) -> Publisher:
        """The way onto Kafka, started."""
        return cast(Publisher, self._get("publisher"))

    @property
    def database(self) -> "Database":
        """PostgreSQL."""
        return cast("Database", self._get("database"))

    @property
    def store(self) -> BlobStore:
        """Pixels and tensors."""
        return cast(BlobStore, self._get("store"))

    @property
    def inference(self) -> "Inference":
        """Triton."""
        return cast("Inference", self._get("inference"))

    @property
    def releases(self) -> "ReleaseBook":
        """Which version serves whom, refreshed each second."""
        return cast("ReleaseBook", self._get("releases"))

    @property
    def decoders(self) -> ThreadPoolExecutor:
        """Threads for decoding images off the event loop."""
        return cast(ThreadPoolExecutor, self._get("decoders"))

    @property
    def windows(self) -> "WindowCache":
        """Wearers' windows in Redis, which may be away."""
        return cast("WindowCache", self._get("windows"))

    @property
    def wearers(self) -> "WearerBook":
        """Uploaders' credentials, refreshed every few seconds."""
        return cast("WearerBook", self._get("wearers"))

    def _get(self, name: str) -> object:
        if name not in self._opened:
            raise Conflict(f"{name} was not opened; add it to the needs of this process")
        return self._opened[name]


@asynccontextmanager
async def services(
    settings: Settings, needs: Iterable[str], *, cards: Iterable[ModelCard] = (), clock: Clock | None = None
) -> AsyncIterator[Services]:
    """Opens `needs` (names of `NEEDS`) in the order below and closes them in reverse, also after an error.

    `cards` are those of the models installed here; `releases` falls back on their versions for a task that nobody
    has decided about yet.
    Raises the Unavailable of what cannot be reached, and Conflict for a need that nobody knows.
    """
    wanted = frozenset(needs)
    if unknown := wanted - NEEDS:
        raise Conflict(f"unknown needs: {', '.join(sorted(unknown))}")
    if wanted & {"releases", "wearers"}:
        wanted |= {"database"}
    found = Services(settings, clock or SystemClock())
    async with AsyncExitStack() as stack:
        await _open(found, wanted, tuple(cards), stack)
        yield found


async def _open(found: Services, wanted: frozenset[str], cards: tuple[ModelCard, ...], stack: AsyncExitStack) -> None:
    # The database and Triton are imported where they are wanted: the DICOM door, which needs neither, is spared 55 MB
    # and 1.2 s of processor time.
    settings, clock, opened = found.settings, found.clock, found._opened
    if "store" in wanted:
        store = pixels.open_store(settings.store_url, settings.store)
        stack.push_async_callback(store.close)
        opened["store"] = store
    if "database" in wanted:
        from adapters.database import Database

        database = Database.open(settings, clock)
        stack.push_async_callback(database.close)
        opened["database"] = database
    if "windows" in wanted:
        from adapters.windows import RedisWindows

        windows = RedisWindows(settings.redis_url, clock)
        stack.push_async_callback(windows.close)
        opened["windows"] = windows
    if "inference" in wanted:
        from adapters.triton import TritonClient

        opened["inference"] = await stack.enter_async_context(TritonClient(settings.triton, clock))
    if "releases" in wanted:
        from adapters.releases import ReleaseBook

        book = ReleaseBook(found.database, clock, cards)
        telemetry.metrics().release_stale_seconds.set_function(lambda: book.age_s() or 0.0)
        await book.start()
        stack.push_async_callback(book.stop)
        opened["releases"] = book
    if "wearers" in wanted:
        from adapters.wearers import WearerBook

        wearers = WearerBook(found.database, clock)
        telemetry.metrics().wearers_stale_seconds.set_function(lambda: wearers.age_s() or 0.0)
        await wearers.start()
        stack.push_async_callback(wearers.stop)
        opened["wearers"] = wearers
    if "decoders" in wanted:
        # Decoding holds the interpreter lock for milliseconds at a time; by default the event loop would ask for it
        # back only after 5 ms, at each of its steps.
        sys.setswitchinterval(SWITCH_S)
        decoders = ThreadPoolExecutor(DECODER_THREADS, thread_name_prefix="decode")
        stack.callback(decoders.shutdown, wait=True)
        opened["decoders"] = decoders
    if "publisher" in wanted:
        publisher = KafkaPublisher(settings.kafka, clock)
        stack.push_async_callback(publisher.stop)
        await publisher.start()
        opened["publisher"] = publisher
