"""The dead letters as a person sees them: which are open, what one holds, sending them through again.

How they are written is the consumers' matter; words and tables are the command's.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from adapters.clock import SystemClock
from adapters.database import Database
from adapters.kafka import KafkaPublisher, Message, client_security
from adapters.settings import KafkaSettings, Settings
from clinstream.reconciliation import log
from consumers import dead_letters
from consumers.dead_letters import Letter
from schemas import topics
from schemas.errors import BrokerUnavailable, DatabaseUnavailable, UserError
from schemas.events import Origin

POLL_S = 10.0


@dataclass(frozen=True, slots=True)
class Replayed:
    """A letter that was sent through again, and where its event lies now."""

    letter: Letter
    topic: str
    partition: int
    offset: int


def letters(settings: Settings) -> list[Letter]:
    """All dead letters there are, oldest first, one for each event, task and attempt; of a door one for each content.

    A process that dies between writing a letter and acknowledging its event writes it twice. What a door refused was
    never on the log: its letters have one origin and differ by their event.
    """
    found: dict[tuple[Origin, str, int, str], Letter] = {}
    for record in log.read(settings.kafka, (topics.DEAD_FAILED, topics.DEAD_UNPROCESSABLE)):
        letter = dead_letters.read(
            record.topic, record.partition, record.offset, record.key, list(record.headers.items()), record.value
        )
        note = letter.note
        found.setdefault((note.origin, note.task, note.attempt, note.event_id), letter)
    return sorted(found.values(), key=lambda letter: (letter.note.first_seen, letter.id))


def still_open(settings: Settings, found: Sequence[Letter]) -> list[Letter]:
    """Those whose event has not ended otherwise since; all of them when the database cannot be asked."""
    try:
        mended = asyncio.run(_mended(settings, found))
    except DatabaseUnavailable:
        return list(found)
    latest: dict[tuple[Origin, str], int] = {}
    for letter in found:
        key = (letter.note.observed, letter.note.task)
        latest[key] = max(latest.get(key, 0), letter.note.attempt)
    return [
        letter
        for letter in found
        if letter.id not in mended and letter.note.attempt == latest[letter.note.observed, letter.note.task]
    ]


async def _mended(settings: Settings, found: Sequence[Letter]) -> set[str]:
    named = {letter.id: UUID(letter.note.event_id) for letter in found if letter.note.event_id}
    database = Database.open(settings, SystemClock())
    try:
        rows = await database.outcomes_of(sorted(set(named.values())))
    finally:
        await database.close()
    ended: dict[UUID, set[str]] = {}
    for row in rows:
        if row.fate != "dead":
            ended.setdefault(row.event_id, set()).add(row.task)
    tasks = {letter.id: letter.note.task for letter in found}
    return {
        name for name, event in named.items() if event in ended and (tasks[name] == "*" or tasks[name] in ended[event])
    }


def find(found: Iterable[Letter], wanted: Sequence[str]) -> list[Letter]:
    """The letters of these ids; UserError names one that does not exist."""
    by_id = {letter.id: letter for letter in found}
    for name in wanted:
        if name not in by_id:
            raise UserError(f"There is no dead letter {name}; `clinstream dead list --all` shows the ids.")
    return [by_id[name] for name in wanted]


def at_the_door(letter: Letter) -> bool:
    """Whether a door refused it, so that it never was an event of the log and cannot go through again."""
    return not letter.note.observed.topic


def replay(settings: Settings, chosen: Sequence[Letter]) -> list[Replayed]:
    """Puts each event back where it entered the log, once, with one attempt more; returns where it lies now.

    Raises UserError for one that a door refused, and BrokerUnavailable; what was put back by then comes through, and
    again does no harm.
    """
    for letter in chosen:
        if at_the_door(letter):
            raise UserError(f"{letter.id} was refused at the door and never was an event; its sender has to mend it.")
    by_event: dict[Origin, Letter] = {}
    for letter in chosen:
        before = by_event.setdefault(letter.note.observed, letter)
        if letter.note.attempt > before.note.attempt:
            by_event[letter.note.observed] = letter
    messages = [(letter, _message(settings.kafka, letter)) for letter in by_event.values()]
    return asyncio.run(_publish(settings, messages))


def _message(settings: KafkaSettings, letter: Letter) -> Message:
    note = letter.note
    if note.origin == note.observed and not letter.left_at_origin:
        return dead_letters.again(letter, letter.key, letter.headers, letter.value)
    key, headers, value = _record_at(settings, note.observed)
    return dead_letters.again(letter, key, headers, value)


async def _publish(settings: Settings, messages: Sequence[tuple[Letter, Message]]) -> list[Replayed]:
    publisher = KafkaPublisher(settings.kafka, SystemClock())
    await publisher.start()
    try:
        done = []
        for letter, message in messages:
            at = await publisher.publish(message.topic, message.key, message.headers, message.value, deadline_s=30.0)
            done.append(Replayed(letter, at.topic, at.partition, at.offset))
        return done
    finally:
        await publisher.stop()


def _record_at(settings: KafkaSettings, place: Origin) -> tuple[bytes | None, list[tuple[str, bytes]], bytes]:
    """Key, headers and value of one record; UserError when the log no longer holds it."""
    at = TopicPartition(place.topic, place.partition)
    consumer = None
    try:
        consumer = KafkaConsumer(
            bootstrap_servers=settings.bootstrap_servers.split(","),
            client_id="clinstream-replay",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            allow_auto_create_topics=False,
            max_poll_records=1,
            **client_security(settings),
        )
        consumer.assign([at])
        consumer.seek(at, place.offset)
        for record in consumer.poll(timeout_ms=int(POLL_S * 1000), max_records=1).get(at, []):
            if record.offset == place.offset:
                return record.key, list(record.headers), record.value or b""
    except (KafkaError, OSError) as error:
        raise BrokerUnavailable(f"Kafka at {settings.bootstrap_servers} does not answer") from error
    finally:
        if consumer is not None:
            consumer.close()
    raise UserError(f"{place.topic} no longer holds the event at {place.partition}/{place.offset}; it cannot go again.")
