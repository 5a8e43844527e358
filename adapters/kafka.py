"""The way onto Kafka: one publisher that waits for all in-sync replicas, and how clients prove who they are.

Consuming lives in `consumers`, topics and lag in `topics_admin`.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, MessageSizeTooLargeError
from aiokafka.partitioner import murmur2

from adapters import kafka_noise
from adapters.clock import Clock
from adapters.settings import KafkaSettings
from schemas.errors import BrokerUnavailable, RejectedInput

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 1_000_000  # below the broker's default message.max.bytes of 1,048,588, headers included
START_DEADLINE_S = 20.0
RETRY_BACKOFF_MS = 100
STOP_DEADLINE_S = 5.0
BATCH_BYTES = 131_072
FEW = 8
"""Fewer records of one partition than this go one by one, and may then share a batch with those of other callers."""


@dataclass(frozen=True, slots=True)
class Message:
    """One record to be: the key decides the partition (murmur2, as every other Kafka client does)."""

    topic: str
    key: bytes | None
    headers: list[tuple[str, bytes]]
    value: bytes


@dataclass(frozen=True, slots=True)
class RecordPosition:
    """Where a record lies on the log; offset -1 when the broker had it already and no longer knows where."""

    topic: str
    partition: int
    offset: int


class Publisher(Protocol):
    """What puts events onto topics; success means that all in-sync replicas have them."""

    async def start(self) -> None:
        """Connects; raises BrokerUnavailable when no broker answers."""
        ...

    async def stop(self) -> None:
        """Sends what waits, within a bound, and disconnects."""
        ...

    async def publish(
        self,
        topic: str,
        key: bytes | None,
        headers: list[tuple[str, bytes]],
        value: bytes,
        *,
        deadline_s: float | None = None,
    ) -> RecordPosition:
        """Publishes one record; raises BrokerUnavailable after `deadline_s`, and the record may land all the same."""
        ...

    async def publish_many(self, messages: Sequence[Message], *, deadline_s: float | None = None) -> None:
        """Publishes all, in order within a partition; raises BrokerUnavailable when any is not acknowledged."""
        ...


@lru_cache(maxsize=65_536)
def _hash(key: bytes) -> int:
    """murmur2 of a key, remembered: the client's own is in Python, and a wearer's next reading has the same key."""
    found: int = murmur2(key)
    return found & 0x7FFFFFFF


def partition(key: bytes | None, every: Sequence[int], available: Sequence[int]) -> int:
    """The partition of a key, the same that every other Kafka client chooses; any for a record without a key."""
    return random.choice(available or every) if key is None else every[_hash(key) % len(every)]


def client_security(settings: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments that protect a connection, understood by aiokafka and by kafka-python alike."""
    chosen: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if settings.security_protocol.endswith("SSL"):
        chosen["ssl_context"] = ssl_context(settings)
    if settings.security_protocol.startswith("SASL"):
        password = settings.sasl_password
        chosen["sasl_mechanism"] = settings.sasl_mechanism or "PLAIN"
        chosen["sasl_plain_username"] = settings.sasl_username
        chosen["sasl_plain_password"] = password.get_secret_value() if password else None
    return chosen


def ssl_context(settings: KafkaSettings) -> ssl.SSLContext:
    """TLS with the brokers' names checked; the client's own certificate where one is set."""
    context = ssl.create_default_context(cafile=str(settings.ssl_cafile) if settings.ssl_cafile else None)
    if settings.ssl_certfile:
        context.load_cert_chain(str(settings.ssl_certfile), str(settings.ssl_keyfile) if settings.ssl_keyfile else None)
    return context


@dataclass(slots=True)
class _Line:
    """One idempotent producer; `broken` when a record failed for good, which leaves a hole in its sequence."""

    producer: AIOKafkaProducer
    broken: bool = field(default=False)


class KafkaPublisher:
    """Publishes with `acks="all"` and idempotence, so that a retry by the client never writes twice.

    A caller that stops waiting does not take its record back: sending goes on in the background.
    """

    def __init__(self, settings: KafkaSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._line: _Line | None = None
        self._renewing = asyncio.Lock()
        self._sending: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        """Connects; raises BrokerUnavailable when no broker answers within 20 s."""
        kafka_noise.hush()
        self._line = await self._connect()

    async def _connect(self) -> _Line:
        settings = self._settings
        producer = AIOKafkaProducer(
            bootstrap_servers=settings.bootstrap_servers.split(","),
            client_id="clinstream",
            acks="all",
            enable_idempotence=True,
            partitioner=partition,
            max_batch_size=BATCH_BYTES,
            max_request_size=MAX_MESSAGE_BYTES,
            linger_ms=2,
            request_timeout_ms=int(settings.request_timeout_s * 1000),
            retry_backoff_ms=RETRY_BACKOFF_MS,
            metadata_max_age_ms=60_000,
            **client_security(settings),
        )
        try:
            await asyncio.wait_for(producer.start(), START_DEADLINE_S)
        except (KafkaError, OSError, TimeoutError) as error:
            await _close(producer)
            raise BrokerUnavailable(f"no Kafka broker answers at {settings.bootstrap_servers}") from error
        _ask_patiently(producer)
        return _Line(producer)

    async def stop(self) -> None:
        """Waits up to 5 s for what is being sent, then disconnects."""
        line, self._line = self._line, None
        if self._sending:
            await asyncio.wait(self._sending, timeout=STOP_DEADLINE_S)
        for task in self._sending:
            task.cancel()
        if line is not None:
            await _close(line.producer)

    async def publish(
        self,
        topic: str,
        key: bytes | None,
        headers: list[tuple[str, bytes]],
        value: bytes,
        *,
        deadline_s: float | None = None,
    ) -> RecordPosition:
        """Publishes one record and says where it lies.

        Raises BrokerUnavailable when it is not acknowledged within `deadline_s` (then it may still land later: its
        identity makes that harmless), RejectedInput when it is larger than a record may be.
        """
        placed = await self._send([Message(topic, key, headers, value)], deadline_s)
        return placed[0]

    async def publish_many(self, messages: Sequence[Message], *, deadline_s: float | None = None) -> None:
        """Publishes all; raises BrokerUnavailable when any is not acknowledged, and publishing again is harmless."""
        if len(messages) >= FEW and all(len(item.value) < BATCH_BYTES // 4 for item in messages):
            await self._within(self._deliver_batches(messages), deadline_s)
        elif messages:
            await self._send(messages, deadline_s)

    async def _send(self, messages: Sequence[Message], deadline_s: float | None) -> list[RecordPosition]:
        ended = await self._within(self._deliver(messages), deadline_s)
        return [RecordPosition(at.topic, at.partition, at.offset) for at in ended]

    async def _within(self, delivery: Coroutine[Any, Any, list[Any]], deadline_s: float | None) -> list[Any]:
        task = asyncio.ensure_future(delivery)
        self._sending.add(task)
        task.add_done_callback(self._forget)
        try:
            return await asyncio.wait_for(asyncio.shield(task), deadline_s)
        except TimeoutError:
            raise BrokerUnavailable("Kafka did not acknowledge in time") from None

    def _forget(self, task: asyncio.Task[list[Any]]) -> None:
        self._sending.discard(task)
        if not task.cancelled():
            # Read, so that nobody waiting any more is not reported as an error that was never looked at.
            task.exception()

    async def _deliver(self, messages: Sequence[Message]) -> list[Any]:
        line = await self._usable()

        async def send() -> AsyncIterator[asyncio.Future[Any]]:
            for item in messages:
                yield await line.producer.send(item.topic, item.value, item.key, headers=item.headers)

        return await _acknowledged(line, send())

    async def _deliver_batches(self, messages: Sequence[Message]) -> list[Any]:
        """Records of one partition as batches of our own: one future a batch, where `send` makes one a record."""
        line = await self._usable()

        async def send() -> AsyncIterator[asyncio.Future[Any]]:
            producer = line.producer
            for (topic, place), group in (await _by_partition(producer, messages)).items():
                if len(group) < FEW:
                    for item in group:
                        yield await producer.send(topic, item.value, item.key, headers=item.headers, partition=place)
                    continue
                batch = producer.create_batch()
                for item in group:
                    if _append(batch, item) is None:
                        yield await producer.send_batch(batch, topic, partition=place)
                        batch = producer.create_batch()
                        _append(batch, item)
                batch.close()  # goes at once: nothing else is to join it
                yield await producer.send_batch(batch, topic, partition=place)

        return await _acknowledged(line, send())

    async def _usable(self) -> _Line:
        if self._line is None:
            raise BrokerUnavailable("the publisher is not started")
        if not self._line.broken:
            return self._line
        async with self._renewing:
            if self._line is not None and self._line.broken:
                old, self._line = self._line, await self._connect()
                log.warning("a record failed for good; publishing goes on with a new producer")
                await _close(old.producer)
        if self._line is None:
            raise BrokerUnavailable("the publisher is stopped")
        return self._line


async def _acknowledged(line: _Line, sent: AsyncIterator[asyncio.Future[Any]]) -> list[Any]:
    """What the brokers answered to all that was sent; what was sent before a failure is waited for, too."""
    waiting: list[asyncio.Future[Any]] = []
    try:
        try:
            async for each in sent:
                waiting.append(each)
        finally:
            ended: list[Any] = await asyncio.gather(*waiting, return_exceptions=True)
        for at in ended:
            if isinstance(at, BaseException):
                raise at
    except MessageSizeTooLargeError as error:
        raise RejectedInput(f"a record may have at most {MAX_MESSAGE_BYTES:,} bytes") from error
    except (KafkaError, OSError) as error:
        # With idempotence on, what fails after it was numbered fails for good, and every later record of its
        # partition would be refused for its number: the next one to send starts a new producer. A record that
        # found no room in time has no number yet.
        numbered = not isinstance(error, KafkaTimeoutError) and not getattr(error, "retriable", False)
        line.broken = line.broken or numbered
        raise BrokerUnavailable(f"Kafka did not take a record: {type(error).__name__}") from error
    return ended


async def _by_partition(
    producer: AIOKafkaProducer, messages: Sequence[Message]
) -> dict[tuple[str, int], list[Message]]:
    """The messages by the partitions that `partition` chooses, each group in the order in which they came."""
    known: dict[str, list[int]] = {}
    groups: dict[tuple[str, int], list[Message]] = {}
    for item in messages:
        every = known.get(item.topic)
        if every is None:
            every = known[item.topic] = sorted(await producer.partitions_for(item.topic))
        groups.setdefault((item.topic, partition(item.key, every, every)), []).append(item)
    return groups


def _append(batch: Any, item: Message) -> Any:
    return batch.append(timestamp=None, key=item.key, value=item.value, headers=item.headers)


def _ask_patiently(producer: AIOKafkaProducer) -> None:
    """Lets a failed look for the partitions' leaders take as long as the back-off of a failed record.

    aiokafka's sender asks again at once while a leader is unknown, as after an orderly stop of the brokers: 19 s of
    processor time in an outage of 24 s, which the broker that starts on the same machine then lacks.
    """
    client, ask = producer.client, producer.client._metadata_update

    async def patiently(cluster: Any, topics: Any) -> bool:
        found = bool(await ask(cluster, topics))
        if not found:
            await asyncio.sleep(RETRY_BACKOFF_MS / 1000)
        return found

    client._metadata_update = patiently


async def _close(producer: AIOKafkaProducer) -> None:
    # aiokafka's stop() waits for ever for records that no broker takes; after the bound its sender is ended by hand.
    try:
        await asyncio.wait_for(producer.stop(), STOP_DEADLINE_S)
    except (TimeoutError, KafkaError, OSError) as error:
        log.warning("closing the producer did not end cleanly: %s", type(error).__name__)
        sender = producer._sender.sender_task
        if sender is not None and not sender.done():
            sender.cancel()
        await producer.client.close()
