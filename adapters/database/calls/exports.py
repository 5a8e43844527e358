"""Sendings of results to destinations, and the reports of studies that go with them."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import exports, study_reports
from adapters.database.calls.base import Calls
from adapters.database.records import Export, ExportState, Told
from adapters.database.study_reports import Known, StudyFacts, StudyReport


class Exports(Calls):
    """Sendings of results to destinations, and the reports of studies that go with them."""

    async def file_exports(self, rows: Sequence[Export]) -> int:
        """Queues sendings; one that was filed before stays as it is. Returns how many were new."""
        if not rows:
            return 0
        return await self._transactions.run(lambda c: exports.file(c, rows))

    async def mark_studies(self, studies: Iterable[str]) -> None:
        """Has what is to be told of these studies looked at."""
        names = list(studies)
        await self._transactions.run(lambda c: study_reports.mark(c, names, self._clock.now()))

    async def due_studies(self, limit: int) -> list[tuple[str, int]]:
        """(study, number of its mark) of the studies that are to be looked at."""
        return await self._transactions.run(lambda c: study_reports.due(c, limit, self._clock.now()))

    async def study_facts(self, study: str) -> StudyFacts:
        """What is known of a study."""
        return await self._transactions.run(lambda c: study_reports.facts(c, study))

    async def unseen_objects(self, events: Sequence[UUID]) -> dict[UUID, Known]:
        """Where objects lie that no preparation has seen, by event; audited."""
        return await self._transactions.run(lambda c: study_reports.unseen(c, events))

    async def tell_study(
        self,
        study: str,
        number: int,
        again: datetime | None,
        made: Sequence[StudyReport],
        gone: Sequence[UUID],
        rows: Sequence[Export],
    ) -> None:
        """Stores reports, marks those that are `gone` as withdrawn, and queues sendings, all or nothing.

        The study's mark of that number goes, or waits until `again`.
        """

        async def work(connection: AsyncConnection) -> None:
            await study_reports.over(connection, study, number, again, gone, made, self._clock.now())
            await exports.file(connection, rows)

        await self._transactions.run(work)

    async def study_report(self, report: UUID) -> StudyReport | None:
        """The report of that id."""
        return await self._transactions.run(lambda c: study_reports.by_id(c, report))

    async def study_report_chain(self, report: UUID) -> list[StudyReport]:
        """All revisions of what that report tells, the first one first."""
        return await self._transactions.run(lambda c: study_reports.chain(c, report))

    async def claim_exports(self, limit: int, lease: timedelta) -> list[Export]:
        """Takes sendings that are due, urgent ones first; they come back when the lease ends and they still wait."""
        return await self._transactions.run(lambda c: exports.claim(c, limit, lease, self._clock.now()))

    async def end_export(self, export_id: UUID, state: ExportState, reason: str, sent: Sequence[str] = ()) -> None:
        """Notes how a sending ended."""
        await self._transactions.run(lambda c: exports.end(c, export_id, state, reason, sent, self._clock.now()))

    async def put_off_export(self, export_id: UUID, until: datetime, reason: str, refusals: int) -> None:
        """Notes why a sending did not succeed, and when it is due again."""
        await self._transactions.run(lambda c: exports.put_off(c, export_id, until, reason, refusals))

    async def exports(
        self, *, state: ExportState | None = None, result: UUID | None = None, limit: int = 50
    ) -> list[Export]:
        """The newest sendings."""
        return await self._transactions.run(lambda c: exports.every(c, state=state, result=result, limit=limit))

    async def delivered(self, result: UUID, destination: str) -> list[tuple[str, str, list[str]]]:
        """(action, change, what left) of a result's sendings to a destination that succeeded, oldest first."""
        return await self._transactions.run(lambda c: exports.delivered(c, result, destination))

    async def told(self, uids: Sequence[str], subject: str, study: str) -> list[Told]:
        """The results of a patient or a study that these objects of ours tell, wherever they were sent."""
        return await self._transactions.run(lambda c: exports.told(c, uids, subject, study))

    async def waiting_exports(self) -> int:
        """How many sendings wait."""
        return await self._transactions.run(exports.waiting)

    async def resend_exports(
        self, id: UUID, *, destination: str | None, within: timedelta, by_whom: str, why: str
    ) -> list[UUID]:
        """Has a sending, or all of a result, made once more within `within` from now, audited; which those are."""
        now = self._clock.now()
        return await self._transactions.run(
            lambda c: exports.resend(
                c, id, destination=destination, until=now + within, by_whom=by_whom, why=why, now=now
            )
        )
