"""What is answered to requests for storage commitment, and when: waiting, failing, trying again (S1); and settings."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from pydantic import ValidationError
from pydicom.dataset import Dataset

from adapters.database.commitments import Commitment, Kept
from adapters.fakes.blobs import FakeBlobs
from adapters.fakes.clock import FakeClock
from adapters.settings import DoorSettings
from producers.commitment_reports import CommitmentReports, Report
from producers.dicom_commitment import event_information, request_of

CT = "1.2.840.10008.5.1.4.1.1.2"


class Archive:
    """Requests and objects in memory."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.waiting: list[tuple[datetime, Commitment]] = []
        self.objects: dict[str, Kept] = {}
        self.expected: list[Commitment] = []
        self.done: list[tuple[Commitment, list[str], datetime]] = []
        self.gone: list[Commitment] = []

    async def claim_commitments(
        self, *, others: timedelta, lease: timedelta, mine: Sequence[str], limit: int
    ) -> list[Commitment]:
        """Those whose time has come."""
        due = [each for at, each in self.waiting if at <= self.clock.now()]
        self.waiting = [(at, each) for at, each in self.waiting if each not in due]
        return due

    async def kept(self, asked: Commitment) -> dict[str, Kept]:
        """What is there."""
        return {uid: self.objects[uid] for _, uid in asked.asked if uid in self.objects}

    async def expect_committed(self, asked: Commitment) -> None:
        """Noted."""
        self.expected.append(asked)

    async def put_off(self, asked: Commitment, next_at: datetime, *, failed: bool, give_up: bool) -> None:
        """Waits again."""
        later = Commitment(
            asked.sender, asked.transaction_uid, asked.called, asked.asked, asked.asked_at, asked.attempts + failed
        )
        if give_up:
            self.gone.append(later)
        else:
            self.waiting.append((next_at, later))

    async def commitment_reported(self, asked: Commitment, failed: Sequence[str], keep_until: datetime) -> None:
        """Done."""
        self.done.append((asked, list(failed), keep_until))


class Sender:
    """Takes reports, or does not."""

    def __init__(self) -> None:
        self.sent: list[Report] = []
        self.away = False

    def mine(self) -> list[str]:
        """None."""
        return []

    def send(self, report: Report) -> bool:
        """Whether it was taken."""
        if not self.away:
            self.sent.append(report)
        return not self.away


class Room:
    """Reports with everything around them."""

    def __init__(self) -> None:
        self.clock, self.store, self.sender = FakeClock(), FakeBlobs(), Sender()
        self.archive = Archive(self.clock)
        self.reports = CommitmentReports(self.archive, self.store, self.sender, self.clock, timedelta(days=30))

    def keep(self, uid: str) -> None:
        """One object, noted and stored."""
        self.store.objects[f"pixels/{uid}"] = b"x"
        self.archive.objects[uid] = Kept(CT, f"pixels/{uid}")

    def ask(self, *uids: str, kind: str = CT) -> None:
        """A request."""
        asked = Commitment("CT1", "1.9", "CLINSTREAM", tuple((kind, uid) for uid in uids), self.clock.now())
        self.archive.waiting.append((self.clock.now(), asked))


async def test_an_object_that_is_noted_a_moment_later_is_kept_and_not_failed() -> None:
    room = Room()
    room.keep("1.1")
    room.ask("1.1", "1.2")
    await room.reports.once()
    assert room.sender.sent == []
    room.keep("1.2")
    await room.clock.advance(2)
    await room.reports.once()
    assert [len(each.kept) for each in room.sender.sent] == [2]
    ((_, failed, until),) = room.archive.done
    assert failed == []
    assert until == room.clock.now() + timedelta(days=30)


async def test_what_never_came_or_left_the_store_or_is_of_another_class_fails_with_its_reason() -> None:
    room = Room()
    for uid in ("1.1", "1.2"):
        room.keep(uid)
    del room.store.objects["pixels/1.2"]
    room.ask("1.1", "1.2", "1.3")
    await room.clock.advance(61)
    await room.reports.once()
    (report,) = room.sender.sent
    assert report.kept == ((CT, "1.1"),)
    assert report.failed == (((CT, "1.2"), 0x0112), ((CT, "1.3"), 0x0112))
    assert len(room.archive.expected) == 1, "the ledger of studies knows what was thought to be sent"
    room.ask("1.1", kind="1.2.3")
    await room.reports.once()
    assert room.sender.sent[1].failed == ((("1.2.3", "1.1"), 0x0119),), "told at once: waiting would not help"


async def test_a_report_that_nobody_takes_is_tried_again_less_and_less_often_and_given_up_after_a_week() -> None:
    room = Room()
    room.keep("1.1")
    room.ask("1.1")
    room.sender.away = True
    pauses = []
    for _ in range(6):
        await room.reports.once()
        ((at, _),) = room.archive.waiting
        pauses.append((at - room.clock.now()).total_seconds())
        await room.clock.advance(pauses[-1])
    assert pauses == [5, 15, 60, 300, 900, 900]
    room.sender.away = False
    await room.reports.once()
    assert len(room.sender.sent) == 1
    room.ask("1.1")
    room.sender.away = True
    await room.clock.advance(8 * 24 * 3600)
    await room.reports.once()
    assert len(room.archive.gone) == 1


def test_a_report_says_by_its_type_whether_all_is_kept() -> None:
    kind, information = event_information(Report("CT1", "", "1.9", ((CT, "1.1"),), ()))
    assert (kind, "FailedSOPSequence" in information) == (1, False)
    kind, information = event_information(Report("CT1", "", "1.9", (), (((CT, "1.1"), 0x0112),)))
    assert (kind, "ReferencedSOPSequence" in information) == (2, False)
    assert information.FailedSOPSequence[0].FailureReason == 0x0112


def test_a_request_without_transaction_or_objects_cannot_be_served() -> None:
    at = FakeClock().now()
    assert request_of(Dataset(), "CT1", "", at) is None
    asked, item = Dataset(), Dataset()
    asked.TransactionUID, asked.ReferencedSOPSequence = "1.9", []
    assert request_of(asked, "CT1", "", at) is None
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, "1.1"
    asked.ReferencedSOPSequence = [item, item]
    found = request_of(asked, "CT1", "CLINSTREAM", at)
    assert found is not None
    assert found.asked == ((CT, "1.1"),)


def test_nothing_is_promised_that_is_not_kept_and_retrievable() -> None:
    assert not DoorSettings().storage_commitment
    assert DoorSettings(storage_commitment=True, retention_days=30, commitment_peers={"CT1": "ct:104"}).retrieval
    for wrong, why in (
        ({}, "RETENTION_DAYS"),
        ({"retention_days": 30, "retrieval": False}, "retrieval"),
        ({"retention_days": 30, "commitment_peers": {"CT1": "ct"}}, "host:port"),
    ):
        with pytest.raises(ValidationError, match=why):
            DoorSettings(storage_commitment=True, **wrong)
