"""A publisher that keeps what it is given, and that a test can take away; it sits the same exam as the real one."""

import asyncio
import zlib
from collections import defaultdict
from collections.abc import Sequence

from adapters.kafka import MAX_MESSAGE_BYTES, Message, RecordPosition
from schemas.errors import BrokerUnavailable, RejectedInput


class FakePublisher:
    """Topics as lists in memory; `away = True` makes every publish wait, as a dead broker does, until it is back."""

    def __init__(self, partitions: int = 4) -> None:
        self.topics: dict[str, list[Message]] = defaultdict(list)
        self._partitions = partitions
        self._offsets: dict[tuple[str, int], int] = defaultdict(int)
        self._back = asyncio.Event()
        self._back.set()
        self._started = False
        self._sending: set[asyncio.Task[list[RecordPosition]]] = set()

    @property
    def away(self) -> bool:
        """Whether the broker does not acknowledge."""
        return not self._back.is_set()

    @away.setter
    def away(self, away: bool) -> None:
        if away:
            self._back.clear()
        else:
            self._back.set()

    async def start(self) -> None:
        """Ready at once, unless away."""
        if self.away:
            raise BrokerUnavailable("no Kafka broker answers")
        self._started = True

    async def stop(self) -> None:
        """Ends the sends that still wait."""
        self._started = False
        for task in self._sending:
            task.cancel()

    async def publish(
        self,
        topic: str,
        key: bytes | None,
        headers: list[tuple[str, bytes]],
        value: bytes,
        *,
        deadline_s: float | None = None,
    ) -> RecordPosition:
        """Appends one record; raises BrokerUnavailable after the deadline, and the record lands when it is back."""
        return (await self._send([Message(topic, key, headers, value)], deadline_s))[0]

    async def publish_many(self, messages: Sequence[Message], *, deadline_s: float | None = None) -> None:
        """Appends all."""
        if messages:
            await self._send(messages, deadline_s)

    async def _send(self, messages: Sequence[Message], deadline_s: float | None) -> list[RecordPosition]:
        if not self._started:
            raise BrokerUnavailable("the publisher is not started")
        if any(len(item.value) > MAX_MESSAGE_BYTES for item in messages):
            raise RejectedInput(f"a record may have at most {MAX_MESSAGE_BYTES:,} bytes")
        task = asyncio.ensure_future(self._append(messages))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        try:
            return await asyncio.wait_for(asyncio.shield(task), deadline_s)
        except TimeoutError:
            raise BrokerUnavailable("Kafka did not acknowledge in time") from None

    async def _append(self, messages: Sequence[Message]) -> list[RecordPosition]:
        await self._back.wait()
        placed = []
        for item in messages:
            partition = zlib.crc32(item.key or b"") % self._partitions
            place = (item.topic, partition)
            placed.append(RecordPosition(item.topic, partition, self._offsets[place]))
            self._offsets[place] += 1
            self.topics[item.topic].append(item)
        return placed
