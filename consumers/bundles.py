"""Records of one fetch in bundles, so that what is done for each hand-over is done once for many; no client here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from consumers.delivery import Headers

MOST = 32
"""Records in a bundle: at 40 us a hand-over 1 us a record, and still only a part of what a lane has in flight."""


@dataclass(slots=True)
class Record:
    """A record of the log; an `Arrival`. Not frozen, which would cost as much again as making it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: float


def bundled(records: Sequence[Any]) -> list[Sequence[Any]]:
    """The records of one partition in runs of at most `MOST`, in their order."""
    return [records[start : start + MOST] for start in range(0, len(records), MOST)]


def read(fetched: Any) -> Record:
    """A fetched record with its time in seconds; one without a time counts as of the epoch."""
    return Record(
        fetched.topic,
        fetched.partition,
        fetched.offset,
        fetched.key,
        fetched.value,
        fetched.headers,
        (fetched.timestamp or 0) / 1000.0,
    )
