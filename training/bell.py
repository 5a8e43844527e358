"""The bell: requests for training on the log become rows; the row is written before the offset is committed."""

import threading
from collections.abc import Callable

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from adapters import telemetry
from adapters.kafka import client_security
from adapters.settings import KafkaSettings
from schemas import envelope, topics
from schemas.errors import BrokerUnavailable, Unavailable, Unprocessable
from schemas.events import RetrainRequested

GROUP = "clinstream.trainer"
POLL_MS = 500
AWAY_S = 1.0

log = telemetry.logger("trainer")


def listen(settings: KafkaSettings, note: Callable[[RetrainRequested], None], stop: threading.Event) -> None:
    """Hands each request to `note` and then commits, until `stop`; meant for a thread of its own.

    `note` may raise Unavailable: the request then comes again. A message that cannot be read is said and passed over:
    only our own outbox writes this topic, and the run it meant can be asked for by a person.
    """
    while not stop.is_set():
        try:
            _listen(settings, note, stop)
        except (KafkaError, OSError, Unavailable) as error:
            log.warning("the trainer waits", reason=type(error).__name__)
            stop.wait(AWAY_S)


def _listen(settings: KafkaSettings, note: Callable[[RetrainRequested], None], stop: threading.Event) -> None:
    # Every worker reads all of it, by places that the group keeps and without joining it: a request that two of them
    # note is one row, and who comes back after a crash does not wait until its predecessor counts as dead.
    consumer = KafkaConsumer(
        bootstrap_servers=settings.bootstrap_servers.split(","),
        client_id="clinstream-trainer",
        group_id=GROUP,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        allow_auto_create_topics=False,
        request_timeout_ms=int(settings.request_timeout_s * 1000),
        bootstrap_timeout_ms=int(settings.request_timeout_s * 1000),
        **client_security(settings),
    )
    try:
        numbers = consumer.partitions_for_topic(topics.RETRAIN_REQUESTED)
        if not numbers:
            raise BrokerUnavailable(f"Kafka has no topic {topics.RETRAIN_REQUESTED} yet")
        consumer.assign([TopicPartition(topics.RETRAIN_REQUESTED, number) for number in sorted(numbers)])
        while not stop.is_set():
            for records in consumer.poll(timeout_ms=POLL_MS).values():
                for record in records:
                    asked = _read(record.headers, record.value or b"")
                    if asked is not None:
                        note(asked)
                consumer.commit()
    finally:
        consumer.close()


def _read(headers: list[tuple[str, bytes]], value: bytes) -> RetrainRequested | None:
    try:
        _, event = envelope.read_any(headers, value, (RetrainRequested,))
    except Unprocessable as error:
        log.error("a request cannot be read", why=str(error))
        return None
    assert isinstance(event, RetrainRequested)
    return event
