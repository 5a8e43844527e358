"""Events put aside: how they are written with what went wrong, read back, and sent through again.

Two topics: what cannot be read at all, and what a step gave up on. The commands that people use are elsewhere.
"""

from dataclasses import dataclass
from typing import Literal

from adapters.kafka import Message
from consumers.delivery import ATTEMPT, FIRST_SEEN, Headers, attempt, header
from schemas import topics
from schemas.events import Origin

Kind = Literal["failed", "unprocessable"]
TOPICS: dict[Kind, str] = {"failed": topics.DEAD_FAILED, "unprocessable": topics.DEAD_UNPROCESSABLE}
MARK = "dead_"
# A value beyond this would not fit with the headers that say why; it is left at its origin, which keeps it.
LARGEST_VALUE = 950_000
LARGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class Note:
    """Why an event was put aside and where it came from; `observed` is where it entered the log."""

    kind: Kind
    reason: str
    error_class: str
    origin: Origin
    observed: Origin
    attempt: int
    first_seen: str
    model_version: str = ""
    event_id: str = ""
    task: str = "*"


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter as it lies on its topic, `id` being `<kind>-<partition>-<offset>`."""

    id: str
    note: Note
    key: bytes | None
    headers: list[tuple[str, bytes]]
    value: bytes
    left_at_origin: bool


def plain(text: str) -> str:
    """A reason as one line without control characters, of bounded length."""
    return "".join(c if c.isprintable() else " " for c in text)[:LARGEST_REASON]


def write(note: Note, key: bytes | None, headers: Headers, value: bytes) -> Message:
    """The record for the dead-letter topic: the event as it came, and the note in headers beside its own."""
    own = [(name, content) for name, content in headers if not name.startswith(MARK)]
    facts = {
        "topic": note.origin.topic,
        "partition": str(note.origin.partition),
        "offset": str(note.origin.offset),
        "observed_topic": note.observed.topic,
        "observed_partition": str(note.observed.partition),
        "observed_offset": str(note.observed.offset),
        "error_class": note.error_class,
        "reason": plain(note.reason),
        "attempt": str(note.attempt),
        "first_seen": note.first_seen,
        "model_version": note.model_version,
        "event_id": note.event_id,
        "task": note.task,
    }
    if len(value) > LARGEST_VALUE:
        facts["value"], value = "origin", b""
    marked = [(MARK + name, content.encode()) for name, content in facts.items()]
    return Message(TOPICS[note.kind], key, own + marked, value)


def read(topic: str, partition: int, offset: int, key: bytes | None, headers: Headers, value: bytes) -> Letter:
    """The dead letter in a record of one of the two topics; facts that are missing read as empty or zero."""

    def fact(name: str) -> str:
        return header(headers, MARK + name)

    def place(prefix: str) -> Origin:
        numbers = [fact(prefix + name) for name in ("partition", "offset")]
        at = [int(text) if text.isdecimal() else 0 for text in numbers]
        return Origin(topic=fact(prefix + "topic"), partition=at[0], offset=at[1])

    kind: Kind = "failed" if topic == topics.DEAD_FAILED else "unprocessable"
    note = Note(
        kind=kind,
        reason=fact("reason"),
        error_class=fact("error_class"),
        origin=place(""),
        observed=place("observed_"),
        attempt=attempt(fact("attempt")),
        first_seen=fact("first_seen"),
        model_version=fact("model_version"),
        event_id=fact("event_id"),
        task=fact("task") or "*",
    )
    own = [(name, content) for name, content in headers if not name.startswith(MARK)]
    return Letter(f"{kind}-{partition}-{offset}", note, key, own, value, fact("value") == "origin")


def again(letter: Letter, key: bytes | None, headers: Headers, value: bytes) -> Message:
    """The observed event on its way through once more: as it was, with the number of the attempt and the first time.

    `key`, `headers` and `value` are those of the observed event, which for a letter from a later topic is another
    record than the letter's own.
    """
    replaced = (f"ce_{ATTEMPT}", f"ce_{FIRST_SEEN}")
    kept = [(name, content) for name, content in headers if name not in replaced and not name.startswith(MARK)]
    kept.append((replaced[0], str(letter.note.attempt + 1).encode()))
    if letter.note.first_seen:
        kept.append((replaced[1], letter.note.first_seen.encode()))
    return Message(letter.note.observed.topic, key, kept, value)
