"""Damages DICOM objects by seed and holds the DICOM door's own code to an answer for each; no network is used."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil

from adapters.clock import SystemClock
from adapters.kafka import Message, RecordPosition
from clinstream.sending import objects
from clinstream.sending.objects import StorageObject
from clinstream.sending.wrap import Wrapping
from producers.door import Door, Limits
from producers.store_request import StoreRequest, judge, settle
from schemas.errors import UserError

DEFINED = frozenset({0x0000, 0xB007, 0xA900, 0xC000})
"""What a damaged object may be answered while broker, store and disk are well."""

WHOLE_BYTES = 1 << 17
"""Larger objects are damaged in their first part: hashing megabytes would be most of the time."""

HEADER_BYTES = 2048
NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = b"fuzzing keeps nothing"
SYNTAXES = (
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.95",
    "1.2.840.10008.1.2.4.50",
    "1.2.3",
    "",
)
WARM = 0.2


@dataclass(slots=True)
class Fuzzed:
    """What came of it; `undefined` names the mutations (by number) without a defined answer, and why."""

    seed: int
    mutations: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    undefined: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    grown_bytes: int = 0


class _Nowhere:
    """A store and a broker that work and forget."""

    async def put(self, uri: str, data: bytes, *, durable: bool) -> None:
        """Takes everything."""

    def free_bytes(self) -> int | None:
        """Room without end."""
        return None

    async def publish_many(self, messages: Sequence[Message], *, deadline_s: float | None = None) -> None:
        """Takes everything."""

    async def publish(self, *_args: object, **_more: object) -> RecordPosition:
        """Takes everything."""
        return RecordPosition("", 0, 0)


def requests_of(folder: Path) -> list[StoreRequest]:
    """The request of each file below a folder; what is no DICOM file is sent all the same. Raises UserError."""
    found = []
    for path in objects.files([folder]):
        item = objects.load(path, Wrapping())
        if isinstance(item, StorageObject):
            data, syntax = item.data[:WHOLE_BYTES], item.transfer_syntax_uid
            found.append(StoreRequest(data, syntax, item.sop_class_uid, item.sop_instance_uid, 0, "FUZZ", "CLINSTREAM"))
        else:
            data = path.read_bytes()[:WHOLE_BYTES]
            found.append(StoreRequest(data, SYNTAXES[1], "1.2.3", "1.2.3.4", 0, "FUZZ", "CLINSTREAM"))
    if not found:
        raise UserError(f"{folder} holds no files.")
    return found


def fuzz(originals: Sequence[StoreRequest], seed: int, mutations: int) -> Fuzzed:
    """`mutations` damaged requests, the same for the same originals and seed."""
    return asyncio.run(_fuzz(originals, seed, mutations))


async def _fuzz(originals: Sequence[StoreRequest], seed: int, mutations: int) -> Fuzzed:
    nowhere = _Nowhere()
    door = Door(nowhere, nowhere, SystemClock(), Limits(30.0, 0))  # type: ignore[arg-type]  # as much as the door uses
    found = Fuzzed(seed)
    process, warm = psutil.Process(), 0
    for number in range(mutations):
        if number == int(mutations * WARM):
            warm = process.memory_info().rss
        request = mutated(originals, seed, number)
        started = time.perf_counter()
        try:
            answer = await settle(judge(request, KEY, NOW), door)
            found.statuses[f"{answer.status:04X}"] += 1
            if answer.status not in DEFINED:
                found.undefined.append(f"{number}: {answer.status:04X} {answer.reason}")
        except Exception as error:  # the door would say "try again" for ever: a mistake of ours
            found.undefined.append(f"{number}: {type(error).__name__}")
        found.slowest_s = max(found.slowest_s, time.perf_counter() - started)
    found.mutations = mutations
    found.grown_bytes = process.memory_info().rss - warm
    return found


def mutated(originals: Sequence[StoreRequest], seed: int, number: int) -> StoreRequest:
    """The damaged request of this number: one file with one to four kinds of damage, or a lie of the request."""
    dice = random.Random(f"{seed}:{number}")
    original = dice.choice(originals)
    data = bytearray(original.data)
    for _ in range(dice.randint(1, 4)):
        dice.choice(DAMAGES)(data, dice)
    return StoreRequest(
        data=bytes(data),
        transfer_syntax_uid=dice.choice(SYNTAXES) if dice.random() < 0.1 else original.transfer_syntax_uid,
        sop_class_uid=_lie(dice) if dice.random() < 0.05 else original.sop_class_uid,
        sop_instance_uid=_lie(dice) if dice.random() < 0.05 else original.sop_instance_uid,
        priority=dice.choice((0, 1, 2, 7, None)),
        sender=original.sender,
        called=original.called,
    )


def _lie(dice: random.Random) -> str:
    return dice.choice(("", "1.2.3", "0" * 64, "not a uid", "1." + "9" * 300))


def _place(data: bytearray, dice: random.Random) -> int:
    """Mostly in the header, where the door reads."""
    end = min(len(data), HEADER_BYTES) if dice.random() < 0.8 else len(data)
    return dice.randrange(end) if end else 0


def _flip(data: bytearray, dice: random.Random) -> None:
    for _ in range(dice.randint(1, 8)):
        if data:
            data[_place(data, dice)] ^= 1 << dice.randrange(8)


def _cut(data: bytearray, dice: random.Random) -> None:
    del data[_place(data, dice) :]


def _lose(data: bytearray, dice: random.Random) -> None:
    start = _place(data, dice)
    del data[start : start + dice.randint(1, 200)]


def _double(data: bytearray, dice: random.Random) -> None:
    start = _place(data, dice)
    data[start:start] = data[start : start + dice.randint(1, 200)]


def _noise(data: bytearray, dice: random.Random) -> None:
    start = _place(data, dice)
    data[start:start] = dice.randbytes(dice.randint(1, 64))


def _length(data: bytearray, dice: random.Random) -> None:
    """Four bytes that a length may be made of: undefined, huge, zero, odd."""
    start = _place(data, dice)
    data[start : start + 4] = dice.choice((b"\xff" * 4, b"\xfe\xff\xff\xff", b"\0" * 4, b"\1\0\0\0", b"\0\0\0\x80"))


def _delimiter(data: bytearray, dice: random.Random) -> None:
    """An item, or the end of one, where none belongs."""
    start = _place(data, dice)
    data[start:start] = (
        b"\xfe\xff" + dice.choice((b"\x00\xe0", b"\x0d\xe0", b"\xdd\xe0")) + dice.choice((b"\0" * 4, b"\xff" * 4))
    )


def _nest(data: bytearray, dice: random.Random) -> None:
    """Sequences in sequences, deeper than anybody means."""
    start = _place(data, dice)
    data[start:start] = (b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff") * dice.choice(
        (3, 300)
    )


DAMAGES: Sequence[Callable[[bytearray, random.Random], None]] = (
    _flip,
    _flip,
    _cut,
    _lose,
    _double,
    _noise,
    _length,
    _length,
    _delimiter,
    _nest,
)
