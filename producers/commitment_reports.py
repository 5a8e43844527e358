"""What is answered to requests for storage commitment, and when: from what is stored, again until it was taken."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from adapters import telemetry
from adapters.clock import Clock
from adapters.database.commitments import Commitment, Kept, Reference
from adapters.pixels import BlobStore
from schemas.errors import Unavailable

log = telemetry.logger("door.commitment")

NO_SUCH_OBJECT, CLASS_CONFLICT = 0x0112, 0x0119
"""Failure Reason (0008,1197), PS3.3 C.14.1.1."""

NOTED_WITHIN_S = 60.0
"""How long an object that was just acknowledged may take until the process `studies` has noted it."""

EACH_S, AWAY_S = 1.0, 5.0
OTHERS_AFTER_S = 3.0
LEASE_S = 120.0
AT_ONCE = 20
AGAIN_S = (5.0, 15.0, 60.0, 300.0, 900.0)
GIVE_UP_AFTER = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Report:
    """A report to `sender`, who had called us `called`: what is kept and what is not, with Failure Reasons."""

    sender: str
    called: str
    transaction_uid: str
    kept: tuple[Reference, ...] = field(repr=False)
    failed: tuple[tuple[Reference, int], ...] = field(repr=False)


class Archive(Protocol):
    """The part of the database that remembers requests and objects."""

    async def claim_commitments(
        self, *, others: timedelta, lease: timedelta, mine: Sequence[str], limit: int
    ) -> list[Commitment]:
        """Requests whose time has come, leased."""
        ...

    async def kept(self, asked: Commitment) -> dict[str, Kept]:
        """What is stored of the objects that were asked for; the read is audited."""
        ...

    async def expect_committed(self, asked: Commitment) -> None:
        """Enters into the ledger of studies what the sender thinks to have sent."""
        ...

    async def put_off(self, asked: Commitment, next_at: datetime, *, failed: bool, give_up: bool) -> None:
        """Another try later, or never."""
        ...

    async def commitment_reported(self, asked: Commitment, failed: Sequence[str], keep_until: datetime) -> None:
        """The report was taken."""
        ...


class Sender(Protocol):
    """Who sends reports."""

    def mine(self) -> list[str]:
        """Transactions whose association is still open here."""
        ...

    def send(self, report: Report) -> bool:
        """Whether the report was taken; blocks."""
        ...


class CommitmentReports:
    """Background work of a process of the DICOM door; those that another process took follow a little later here."""

    def __init__(self, archive: Archive, store: BlobStore, sender: Sender, clock: Clock, retention: timedelta) -> None:
        self._archive, self._store, self._sender = archive, store, sender
        self._clock, self._retention = clock, retention

    async def run(self) -> None:
        """Rounds for ever; waits while database or store is away. Ends by cancellation."""
        while True:
            try:
                await self.once()
                await self._clock.sleep(EACH_S)
            except Unavailable as error:
                log.warning("commitment reports wait", reason=type(error).__name__)
                await self._clock.sleep(AWAY_S)

    async def once(self) -> int:
        """One round; returns how many requests were looked at."""
        claimed = await self._archive.claim_commitments(
            others=timedelta(seconds=OTHERS_AFTER_S),
            lease=timedelta(seconds=LEASE_S),
            mine=self._sender.mine(),
            limit=AT_ONCE,
        )
        for asked in claimed:
            await self._answer(asked)
        return len(claimed)

    async def _answer(self, asked: Commitment) -> None:
        now = self._clock.now()
        report = await self.judge(asked)
        age = now - asked.asked_at
        missing = any(reason == NO_SUCH_OBJECT for _, reason in report.failed)
        if missing and not asked.attempts and age < timedelta(seconds=NOTED_WITHIN_S):
            await self._archive.put_off(asked, now + timedelta(seconds=EACH_S), failed=False, give_up=False)
            return
        await self._archive.expect_committed(asked)
        if await asyncio.to_thread(self._sender.send, report):
            failed = [instance for (_, instance), _ in report.failed]
            await self._archive.commitment_reported(asked, failed, now + self._retention)
            log.info("commitment reported", sender=asked.sender, kept=len(report.kept), failed=len(failed))
            return
        pause = AGAIN_S[min(asked.attempts, len(AGAIN_S) - 1)]
        give_up = age > GIVE_UP_AFTER
        await self._archive.put_off(asked, now + timedelta(seconds=pause), failed=True, give_up=give_up)
        log.warning("a commitment report was not taken", sender=asked.sender, attempts=asked.attempts + 1)

    async def judge(self, asked: Commitment) -> Report:
        """Which of the objects are kept: noted from the log, of the class that was asked for, and in the store now."""
        stored = await self._archive.kept(asked)
        kept: list[Reference] = []
        failed: list[tuple[Reference, int]] = []
        for reference in asked.asked:
            found = stored.get(reference[1])
            if found is None or not await self._store.exists(found.blob_uri):
                failed.append((reference, NO_SUCH_OBJECT))
            elif found.sop_class_uid != reference[0]:
                failed.append((reference, CLASS_CONFLICT))
            else:
                kept.append(reference)
        return Report(asked.sender, asked.called, asked.transaction_uid, tuple(kept), tuple(failed))
