"""Topics as the brokers hold them: made from the table, checked against it, and how far each group has read."""

import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaError,
    NotCoordinatorError,
    TopicAlreadyExistsError,
)
from kafka.structs import OffsetAndMetadata

from adapters.kafka import client_security
from adapters.settings import KafkaSettings, Settings
from schemas import topics as table
from schemas.errors import BrokerUnavailable, Conflict

Place = tuple[str, int]
LATEST = -1
EARLIEST = -2
COORDINATOR_DEADLINE_S = 10.0
COORDINATOR_PAUSE_S = 0.2
WIDENED_DEADLINE_S = 10.0
CONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class Lag:
    """One partition for one group, in offsets: `committed` is None where the group has never committed."""

    topic: str
    partition: int
    start: int
    end: int
    committed: int | None

    @property
    def events(self) -> int:
        """How many events the group has not finished."""
        return max(0, self.end - max(self.start, self.committed or 0))


@contextmanager
def admin(settings: KafkaSettings) -> Iterator[KafkaAdminClient]:
    """A connection for administration; what Kafka says about being away becomes BrokerUnavailable."""
    if not any(_listens(place) for place in settings.bootstrap_servers.split(",")):
        raise BrokerUnavailable(f"Kafka at {settings.bootstrap_servers} does not answer")
    client = None
    try:
        client = KafkaAdminClient(
            bootstrap_servers=settings.bootstrap_servers.split(","),
            client_id="clinstream-admin",
            request_timeout_ms=int(settings.request_timeout_s * 1000),
            bootstrap_timeout_ms=int(settings.request_timeout_s * 1000),
            **client_security(settings),
        )
        yield client
    except (KafkaError, OSError) as error:
        if not getattr(error, "retriable", True):
            raise Conflict(f"Kafka refused: {type(error).__name__}") from error
        raise BrokerUnavailable(f"Kafka at {settings.bootstrap_servers} does not answer") from error
    finally:
        if client is not None:
            client.close()


def _listens(place: str) -> bool:
    # Asked first: kafka-python would try for 20 s, and leave its socket open.
    host, _, port = place.strip().rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except OSError:
        return False
    return True


def topic_names(tasks: Iterable[str]) -> tuple[str, ...]:
    """Names of all topics of the table, with two result topics for each task."""
    return tuple(row.name for row in table.topics(tasks))


def ensure_topics(settings: Settings, tasks: Iterable[str]) -> list[str]:
    """Makes what is missing, widens what has too few partitions, sets each topic's configuration.

    Partitions are never taken away: a key would move to another partition while its events are in flight. Returns the
    names of the topics that were made. The brokers' `default.replication.factor` decides how many copies there are.
    """
    rows = {row.name: row for row in table.topics(tasks)}
    with admin(settings.kafka) as client:
        present = _partitions(client, None)
        missing = [name for name in rows if name not in present]
        if missing:
            wanted = {
                name: {"num_partitions": rows[name].partitions, "configs": rows[name].settings()} for name in missing
            }
            try:
                client.create_topics(wanted, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                # Another process made some at the same moment; the rest is made one by one.
                for name in missing:
                    _create_unless_there(client, name, wanted[name])
                client.wait_for_topics(missing)
        narrow = {n: row.partitions for n, row in rows.items() if n in present and len(present[n]) < row.partitions}
        if narrow:
            client.create_partitions(narrow)
            _wait_until_wide(client, narrow)
        known = [
            ConfigResource(ConfigResourceType.TOPIC, name, configs=row.settings())
            for name, row in rows.items()
            if name in present
        ]
        if known:
            client.alter_configs(known, raise_on_unknown=False)
    return missing


def _wait_until_wide(client: KafkaAdminClient, wanted: dict[str, int]) -> None:
    # The controller has them at once, the brokers' metadata some tenths of a second later.
    give_up = time.monotonic() + WIDENED_DEADLINE_S
    while any(len(_partitions(client, [name]).get(name, [])) < count for name, count in wanted.items()):
        if time.monotonic() > give_up:
            raise BrokerUnavailable(f"new partitions of {', '.join(sorted(wanted))} did not appear")
        time.sleep(COORDINATOR_PAUSE_S)


def _create_unless_there(client: KafkaAdminClient, name: str, wanted: dict[str, object]) -> None:
    try:
        client.create_topics({name: wanted})
    except TopicAlreadyExistsError:
        return


def missing_topics(settings: KafkaSettings, names: Iterable[str]) -> list[str]:
    """Which of `names` the brokers do not have."""
    with admin(settings) as client:
        present = _partitions(client, None)
    return sorted(name for name in set(names) if name not in present)


def partition_counts(settings: KafkaSettings, names: Iterable[str]) -> dict[str, int]:
    """How many partitions each of the existing topics has."""
    wanted = set(names)
    with admin(settings) as client:
        return {name: len(found) for name, found in _partitions(client, None).items() if name in wanted}


def _partitions(client: KafkaAdminClient, names: list[str] | None) -> dict[str, list[int]]:
    return {
        topic["name"]: sorted(part["partition_index"] for part in topic["partitions"])
        for topic in client.describe_topics(names)
        if topic["error_code"] == 0
    }


def lag(settings: Settings, group: str, topics: Iterable[str]) -> list[Lag]:
    """How far `group` has come in each partition of the existing ones of `topics`, by committed offsets."""
    return lags(settings, {group: tuple(topics)})[group]


def lags(settings: Settings, groups: dict[str, tuple[str, ...]]) -> dict[str, list[Lag]]:
    """The same for several groups over one connection; topics that do not exist (yet) are left out."""
    if not groups:
        return {}
    with admin(settings.kafka) as client:
        present = _partitions(client, None)
        wanted = {name for names in groups.values() for name in names if name in present}
        places = [TopicPartition(name, number) for name in wanted for number in present[name]]
        starts = client.list_partition_offsets(dict.fromkeys(places, EARLIEST)) if places else {}
        ends = client.list_partition_offsets(dict.fromkeys(places, LATEST)) if places else {}
        committed = _committed(client, list(groups))
    found: dict[str, list[Lag]] = {}
    for group, names in groups.items():
        at = {place: int(known.offset) for place, known in committed.get(group, {}).items() if known.offset >= 0}
        mine = sorted(place for place in places if place.topic in names)
        found[group] = [
            Lag(place.topic, place.partition, int(starts[place].offset), int(ends[place].offset), at.get(place))
            for place in mine
        ]
    return found


def _committed(client: KafkaAdminClient, groups: list[str]) -> dict[str, dict[TopicPartition, OffsetAndMetadata]]:
    # The first question of a new cluster for any group has the brokers make their offsets topic, and is answered
    # "not available" or "not the coordinator" until that is done (0.4 s here).
    give_up = time.monotonic() + COORDINATOR_DEADLINE_S
    while True:
        try:
            found: dict[str, dict[TopicPartition, OffsetAndMetadata]] = client.list_group_offsets(dict.fromkeys(groups))
            return found
        except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError):
            if time.monotonic() > give_up:
                raise
            time.sleep(COORDINATOR_PAUSE_S)
