"""The journal of the doors: never in a sender's way, nothing lost while the database is away, drops counted (CC14)."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

from adapters import telemetry
from adapters.fakes.clock import FakeClock
from producers.dicom_journal import MOST_KINDS, Journal, Journals
from producers.journal import JournalWriter, entry_of
from producers.store_request import Answer
from schemas.errors import DatabaseUnavailable


def journal(sender: str = "CT1") -> Journal:
    return Journal(sender, "CLINSTREAM", "10.0.0.5", datetime(2026, 1, 2, tzinfo=UTC), 0.0, ended="released")


def counted(fate: str) -> float:
    return float(telemetry.metrics().door_journal.labels(fate=fate)._value.get())


class Table:
    """Where entries are written; `away` fails that many times first."""

    def __init__(self, away: int = 0) -> None:
        self.away = away
        self.written: list[Journal] = []
        self.done = asyncio.Event()

    async def __call__(self, entries: Sequence[Journal]) -> None:
        if self.away:
            self.away -= 1
            raise DatabaseUnavailable("PostgreSQL is away")
        self.written += entries
        self.done.set()


async def test_entries_are_written_in_their_order_once_the_database_is_back() -> None:
    table, clock = Table(away=2), FakeClock()
    writer = JournalWriter(table, clock)
    writing = asyncio.ensure_future(writer.run())
    for name in ("A", "B", "C"):
        writer.note(journal(name))
    for _ in range(4):
        await clock.advance(60)
    assert [each.sender for each in table.written] == ["A", "B", "C"]
    writing.cancel()


async def test_without_room_an_entry_is_dropped_and_counted_and_the_sender_never_waits() -> None:
    table = Table(away=10**6)
    writer = JournalWriter(table, FakeClock(), room=3)
    before = counted("dropped")
    for number in range(5):
        writer.note(journal(str(number)))
    assert counted("dropped") - before == 2
    table.away = 0
    await writer.close(1.0)
    assert [each.sender for each in table.written] == ["0", "1", "2"]


async def test_entries_of_other_threads_are_written_without_being_asked_for() -> None:
    table = Table()
    writer = JournalWriter(table, FakeClock())
    writing = asyncio.ensure_future(writer.run())
    await asyncio.to_thread(writer.note, journal())
    await table.done.wait()
    assert len(table.written) == 1
    writing.cancel()


def test_a_sender_cannot_make_an_entry_grow_without_end() -> None:
    entry = journal()
    for number in range(1000):
        entry.note(Answer(0xC000, f"reason {number}"), 10, f"1.2.{number}", "1.2.840.10008.1.2")
    row = entry_of(entry, "door-dicom")
    assert len(row.reasons) <= MOST_KINDS + 1
    assert sum(row.reasons.values()) == sum(row.sop_classes.values()) == 1000
    assert row.statuses == {"C000": 1000}
    assert row.received_bytes == 10_000


def test_an_association_is_closed_once() -> None:
    journals, entry = Journals(), journal()
    journals.open("association", entry)
    assert journals.of("association") is entry
    assert journals.close("association") is entry
    assert journals.close("association") is None
