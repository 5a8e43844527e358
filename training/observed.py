"""What was observed, read back from its place on the log; nothing is written or committed."""

from collections.abc import Iterable, Mapping

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from adapters.kafka import client_security
from adapters.settings import KafkaSettings
from schemas import envelope
from schemas.errors import BrokerUnavailable, Unprocessable
from schemas.events import VitalsObserved

Place = tuple[str, int, int]
POLL_MS = 2000
TRIES = 15


def vitals(settings: KafkaSettings, places: Iterable[Place]) -> Mapping[Place, VitalsObserved]:
    """The events at these (topic, partition, offset); a place that holds none, or no vitals, is left out.

    Raises BrokerUnavailable when Kafka does not answer.
    """
    wanted = sorted(set(places))
    if not wanted:
        return {}
    try:
        consumer = KafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers.split(","),
            client_id="clinstream-trainer-log",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=1,
            request_timeout_ms=int(settings.request_timeout_s * 1000),
            bootstrap_timeout_ms=int(settings.request_timeout_s * 1000),
            **client_security(settings),
        )
    except (KafkaError, OSError) as error:
        raise BrokerUnavailable("Kafka does not answer") from error
    try:
        found = {}
        for place in wanted:
            event = _at(consumer, place)
            if event is not None:
                found[place] = event
        return found
    except (KafkaError, OSError) as error:
        raise BrokerUnavailable("Kafka does not answer") from error
    finally:
        consumer.close()


def _at(consumer: KafkaConsumer, place: Place) -> VitalsObserved | None:
    topic, partition, offset = place
    where = TopicPartition(topic, partition)
    consumer.assign([where])
    first, end = consumer.beginning_offsets([where])[where], consumer.end_offsets([where])[where]
    if not first <= offset < end:
        return None
    consumer.seek(where, offset)
    for _ in range(TRIES):
        for record in consumer.poll(timeout_ms=POLL_MS, max_records=1).get(where, []):
            if record.offset != offset:
                return None
            try:
                _, event = envelope.read_any(record.headers, record.value or b"", (VitalsObserved,))
            except Unprocessable:
                return None
            return event if isinstance(event, VitalsObserved) else None
    raise BrokerUnavailable("Kafka gave no record at a place that it holds")
