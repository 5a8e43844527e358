"""What every door does with an event: bytes durable first, then the broker's acknowledgement within a deadline.

The protocols that senders speak (DICOM, HTTP) are in modules of their own; no status code of theirs is known here.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from adapters.clock import Clock
from adapters.kafka import Message, Publisher
from adapters.pixels import BlobStore
from schemas.errors import BrokerUnavailable, StoreUnavailable, Unavailable

T = TypeVar("T")

DISK_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """When a door says "try again".

    `ack_deadline_s` bounds store and broker together; `disk_watermark_bytes` is the free room below which nothing
    is taken; `waiting_messages` bounds what has been handed to the broker's client and is not acknowledged,
    `waiting_bytes` what has been handed to the object store and is not on disk, so that neither one that is away nor
    one that is slow fills this process's memory.
    """

    ack_deadline_s: float
    disk_watermark_bytes: int
    waiting_messages: int = 20_000
    waiting_bytes: int = 1 << 30


class Door:
    """Takes events in. A refused event may still land later: its identity makes that harmless (delivery rule 1)."""

    def __init__(
        self,
        publisher: Publisher,
        store: BlobStore,
        clock: Clock,
        limits: Limits,
        free_bytes: Callable[[], int | None] | None = None,
    ) -> None:
        self._publisher = publisher
        self._store = store
        self._clock = clock
        self._limits = limits
        self._free_bytes = free_bytes or store.free_bytes
        self._waiting = 0
        self._storing_bytes = 0
        self._late: set[asyncio.Task[Any]] = set()
        self._disk_full = False
        self._looked_at = float("-inf")

    @property
    def deadline_s(self) -> float:
        """Seconds within which `accept` answers or raises."""
        return self._limits.ack_deadline_s

    def why_refuse(self) -> Unavailable | None:
        """What forbids taking anything now; callable from any thread."""
        if self._waiting >= self._limits.waiting_messages:
            return BrokerUnavailable("too much waits for the broker's acknowledgement")
        if self._storing_bytes >= self._limits.waiting_bytes:
            return StoreUnavailable("too much waits for the object store")
        now = self._clock.monotonic()
        if now - self._looked_at >= DISK_LOOK_S:
            free = self._free_bytes()
            self._disk_full = free is not None and free < self._limits.disk_watermark_bytes
            self._looked_at = now
        return StoreUnavailable("the disk is almost full") if self._disk_full else None

    async def accept(self, messages: Sequence[Message], *blobs: tuple[str, bytes | memoryview] | None) -> None:
        """Returns once `blobs` (uri, bytes), in their order, are on disk and all in-sync replicas have every message.

        Raises StoreUnavailable or BrokerUnavailable when that cannot be had within the deadline, RejectedInput for
        a message larger than a record may be.
        """
        refusal = self.why_refuse()
        if refusal is not None:
            raise refusal
        start = self._clock.monotonic()
        for uri, data in filter(None, blobs):
            late = StoreUnavailable("the object store did not answer in time")
            left = self.deadline_s - (self._clock.monotonic() - start)
            await self._within(self._put(uri, data), max(left, 0.0), late)
        left = self.deadline_s - (self._clock.monotonic() - start)
        late_ack = BrokerUnavailable("the broker did not acknowledge in time")
        await self._within(self._publish(messages), max(left, 0.0), late_ack)

    async def drain(self, seconds: float) -> int:
        """Waits for what is still on its way to the broker; returns how much was left when time was up."""
        if self._late:
            await asyncio.wait(self._late, timeout=seconds)
        return len(self._late)

    async def _put(self, uri: str, data: bytes | memoryview) -> None:
        # Counted until the store has answered, like the messages below.
        self._storing_bytes += len(data)
        try:
            await self._store.put(uri, data, durable=True)
        finally:
            self._storing_bytes -= len(data)

    async def _publish(self, messages: Sequence[Message]) -> None:
        # Counted until the client gives an answer of its own, also after the sender was told "try again".
        self._waiting += len(messages)
        try:
            await self._publisher.publish_many(messages)
        finally:
            self._waiting -= len(messages)

    async def _within(self, work: Coroutine[Any, Any, T], seconds: float, late: Unavailable) -> T:
        """The result of `work`, or `late` raised after `seconds` while `work` goes on: it is never cancelled."""
        task = asyncio.ensure_future(work)
        self._late.add(task)
        task.add_done_callback(self._forget)
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            raise late
        return task.result()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._late.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: nobody may be waiting for it any more
