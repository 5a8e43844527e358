"""CloudEvents 1.0 over Kafka in binary mode (Kafka Protocol Binding 1.0.2, section 3.2); no Kafka client here.

Attributes travel as `ce_*` headers in UTF-8, the event's data as JSON in the value, W3C trace context as a plain
`traceparent` header.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any, TypeVar

import msgspec

from schemas.errors import Unprocessable
from schemas.events import Base

Headers = Sequence[tuple[str, bytes]]
T = TypeVar("T", bound=Base)

CONTENT_TYPE = "application/json"
SCHEMA_ROOT = "urn:clinstream:schema:"
REQUIRED = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time")
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Envelope:
    """The attributes of one event; `extensions` are CloudEvents extension attributes (lower-case letters, digits)."""

    id: str
    source: str
    type: str
    time: str
    subject: str = ""
    dataschema: str = ""
    traceparent: str = ""
    extensions: dict[str, str] = field(default_factory=dict)


def event_type(kind: type[Base]) -> str:
    """The CloudEvents `type` of a record class."""
    return kind.TYPE


def dataschema(kind: type[Base]) -> str:
    """The `dataschema` URI of a record class: its type under the project's URN."""
    return SCHEMA_ROOT + event_type(kind)


def pack(
    data: Base,
    *,
    id: str,
    source: str,
    subject: str,
    time: datetime,
    traceparent: str = "",
    extensions: dict[str, str] | None = None,
) -> tuple[list[tuple[str, bytes]], bytes]:
    """Headers and value of `data` as one CloudEvent."""
    headers = [
        *_always(type(data), source),
        ("ce_id", id.encode()),
        ("ce_time", _written(time)),
        ("ce_subject", subject.encode()),
    ]
    headers += [(f"ce_{name}", value.encode()) for name, value in (extensions or {}).items()]
    if traceparent:
        headers.append(("traceparent", traceparent.encode()))
    return headers, _encoder.encode(data)


@lru_cache(maxsize=256)
def _always(kind: type[Base], source: str) -> tuple[tuple[str, bytes], ...]:
    """The headers that all events of a kind from one source have."""
    return (
        ("ce_specversion", b"1.0"),
        ("ce_source", source.encode()),
        ("ce_type", event_type(kind).encode()),
        ("ce_dataschema", dataschema(kind).encode()),
        ("content-type", CONTENT_TYPE.encode()),
    )


@lru_cache(maxsize=16)
def _written(time: datetime) -> bytes:
    """A time as a header has it; the events of one request share theirs."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z").encode()


def open_envelope(headers: Iterable[tuple[str, bytes]]) -> Envelope:
    """The attributes of a received event; raises `Unprocessable` naming what is missing or wrong."""
    try:
        found = {name.lower(): value.decode() for name, value in headers}
    except UnicodeDecodeError as error:
        raise Unprocessable("a header is not UTF-8") from error
    missing = [name for name in REQUIRED if not found.get(name)]
    if missing:
        raise Unprocessable(f"not a CloudEvent: missing {', '.join(missing)}")
    if found["ce_specversion"] != "1.0":
        raise Unprocessable(f"CloudEvents version {found['ce_specversion']!r} is not supported; send 1.0")
    known = {*REQUIRED, "ce_subject", "ce_dataschema"}
    extensions = {k[3:]: v for k, v in found.items() if k.startswith("ce_") and k not in known}
    return Envelope(
        id=found["ce_id"],
        source=found["ce_source"],
        type=found["ce_type"],
        time=found["ce_time"],
        subject=found.get("ce_subject", ""),
        dataschema=found.get("ce_dataschema", ""),
        traceparent=found.get("traceparent", ""),
        extensions=extensions,
    )


@cache
def _decoder(kind: type[Base]) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind)


def read(kind: type[T], value: bytes) -> T:
    """`value` as a record of `kind`; raises `Unprocessable` saying what is wrong, without quoting the data."""
    try:
        decoded: T = _decoder(kind).decode(value)
        return decoded
    except msgspec.ValidationError as error:
        raise Unprocessable(f"does not fit {event_type(kind)}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Unprocessable("the value is not JSON") from error


def read_any(
    headers: Iterable[tuple[str, bytes]], value: bytes, accepted: Sequence[type[Base]]
) -> tuple[Envelope, Base]:
    """Envelope and record of an event that must be one of `accepted`.

    A later version of a known type (`.v2` where `.v1` is known) is named as such, so that the operator knows to
    upgrade and replay instead of looking for damage.
    """
    envelope = open_envelope(headers)
    for kind in accepted:
        if envelope.type == event_type(kind):
            return envelope, read(kind, value)
    stems = {event_type(kind).rpartition(".")[0] for kind in accepted}
    if envelope.type.rpartition(".")[0] in stems:
        raise Unprocessable(f"schema version {envelope.type!r} is newer than this system; upgrade, then replay")
    expected = ", ".join(sorted(event_type(kind) for kind in accepted))
    raise Unprocessable(f"event type {envelope.type[:80]!r} is not expected here; expected {expected}")


def to_json(data: Any) -> bytes:
    """`data` (records, UUIDs and times included) as compact JSON."""
    return _encoder.encode(data)
