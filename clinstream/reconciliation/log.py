"""Whole topics from their first record to their end, outside any consumer group; what records mean is elsewhere."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from adapters.kafka import client_security
from adapters.settings import KafkaSettings
from schemas.errors import BrokerUnavailable

FETCH_BYTES = 8 << 20
STALLED_S = 30.0


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record: `headers` by name (of several with one name the last counts); sent `at` (Unix seconds)."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    headers: dict[str, bytes]
    value: bytes
    at: float = 0.0

    def text(self, name: str) -> str:
        """A header as text; empty when there is none."""
        return self.headers.get(name, b"").decode(errors="replace")


def read(settings: KafkaSettings, topics: Iterable[str]) -> Iterator[LogRecord]:
    """All records that the existing ones of `topics` hold now; those that arrive meanwhile are not waited for.

    Raises BrokerUnavailable when Kafka does not answer, or nothing more comes for half a minute.
    """
    consumer = None
    try:
        # kafka-python's own defaults would start at the end and commit.
        consumer = KafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers.split(","),
            client_id="clinstream-log",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            # Brokers check at writing. Summing in Python is three quarters of the work: 30,000 records 4.1 s or 1.0 s.
            check_crcs=False,
            fetch_max_bytes=4 * FETCH_BYTES,
            max_partition_fetch_bytes=FETCH_BYTES,
            max_poll_records=10_000,
            request_timeout_ms=int(settings.request_timeout_s * 1000),
            bootstrap_timeout_ms=int(settings.request_timeout_s * 1000),
            **client_security(settings),
        )
        yield from _records(consumer, set(topics))
    except (KafkaError, OSError) as error:
        raise BrokerUnavailable(f"Kafka at {settings.bootstrap_servers} does not answer") from error
    finally:
        if consumer is not None:
            consumer.close()


def _records(consumer: KafkaConsumer, topics: set[str]) -> Iterator[LogRecord]:
    present = topics & set(consumer.topics())
    places = [TopicPartition(topic, number) for topic in present for number in consumer.partitions_for_topic(topic)]
    ends = consumer.end_offsets(places) if places else {}
    starts = consumer.beginning_offsets(places) if places else {}
    waiting = {place: end for place, end in ends.items() if end > starts[place]}
    consumer.assign(list(waiting))
    for place in waiting:
        consumer.seek(place, starts[place])
    give_up = time.monotonic() + STALLED_S
    while waiting:
        batches = consumer.poll(timeout_ms=500)
        for place, records in batches.items():
            end = ends[place]
            for record in records:
                if record.offset < end:
                    yield LogRecord(
                        record.topic,
                        record.partition,
                        record.offset,
                        record.key,
                        dict(record.headers),
                        record.value or b"",
                        record.timestamp / 1000,
                    )
        finished = [place for place in waiting if consumer.position(place) >= waiting[place]]
        for place in finished:
            del waiting[place]
        if finished and waiting:
            consumer.assign(list(waiting))
        if batches:
            give_up = time.monotonic() + STALLED_S
        elif time.monotonic() > give_up:
            raise BrokerUnavailable("Kafka gave no more records, although its topics hold some")
