"""The export queue, emptied: each row is built from the stored image, sent, and ends in a state.

A row is taken under a lease, so a crash costs a pause and a second sending of the same objects, which a receiver knows
by their UIDs. A receiver that is away is asked again, less and less often, until the row's time is over.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar
from uuid import UUID

from adapters import telemetry
from adapters.clock import Clock
from adapters.database import Export, ExportState, StoredResult
from adapters.database.study_reports import StudyReport
from adapters.pixels import BlobStore
from adapters.receivers import Parcel, Receipt, Receiver, open_receiver
from adapters.settings import Destination, ExportSettings
from consumers.exporting import account
from consumers.told_images import ToldImages, edition
from schemas.card import ModelCard
from schemas.errors import MissingObject, ReceiverAway, RejectedInput, StepFailed, Unavailable
from schemas.events import ResultPublished

T = TypeVar("T")

log = telemetry.logger("deliveries")

AT_ONCE = 4
LEASE = timedelta(minutes=5)
IDLE_S = 1.0
AWAY_S = 2.0
FIRST_PAUSE_S = 2.0
LONGEST_PAUSE_S = 300.0
REFUSALS = 3
"""A refusal is asked again this often: it may be a configuration that somebody is about to mend."""


class Queue(Protocol):
    """The part of the database that is used here; every call raises DatabaseUnavailable."""

    async def claim_exports(self, limit: int, lease: timedelta) -> list[Export]: ...
    async def end_export(self, export_id: UUID, state: ExportState, reason: str, sent: Sequence[str] = ()) -> None: ...
    async def put_off_export(self, export_id: UUID, until: datetime, reason: str, refusals: int) -> None: ...
    async def delivered(self, result: UUID, destination: str) -> list[tuple[str, str, list[str]]]: ...
    async def waiting_exports(self) -> int: ...
    async def result(self, result_id: UUID) -> StoredResult | None: ...
    async def study_report(self, report: UUID) -> StudyReport | None: ...
    async def study_report_chain(self, report: UUID) -> list[StudyReport]: ...


class _Over(Exception):
    """This row needs no sending, or can have none any more."""

    def __init__(self, state: ExportState, reason: str) -> None:
        super().__init__(reason)
        self.state: ExportState = state
        self.reason = reason


class Deliveries:
    """Sends what is due, for ever. Several may run: rows under another's lease are left out."""

    def __init__(
        self,
        cards: Mapping[str, ModelCard],
        settings: ExportSettings,
        queue: Queue,
        store: BlobStore,
        threads: Executor,
        clock: Clock,
        receiver: Callable[[Destination], Receiver] = open_receiver,
        key: bytes = b"",
    ) -> None:
        self._cards, self._settings, self._queue = cards, settings, queue
        self._threads, self._clock, self._receiver = threads, clock, receiver
        self._images = ToldImages(store, threads, key)

    async def run(self) -> None:
        """Ends by cancellation; waits while the database is away."""
        while True:
            try:
                worked = await self.once()
                telemetry.metrics().exports_waiting.set(await self._queue.waiting_exports())
            except Unavailable as error:
                log.warning("deliveries wait", reason=type(error).__name__)
                await self._clock.sleep(AWAY_S)
                continue
            if not worked:
                await self._clock.sleep(IDLE_S)

    async def once(self) -> int:
        """Tries what is due, a few side by side, and returns how many; raises Unavailable of the database or store."""
        due = await self._queue.claim_exports(AT_ONCE, LEASE)
        await asyncio.gather(*(self._deliver(row) for row in due))
        return len(due)

    async def _deliver(self, row: Export) -> None:
        try:
            parcel, destination = await self._parcel(row), self._settings.destinations[row.destination]
            receipt = await self._in_thread(lambda: self._receiver(destination).deliver(parcel))
        except _Over as over:
            await self._end(row, over.state, over.reason)
        except ReceiverAway as error:
            await self._again(row, str(error), row.refusals)
        except Unavailable:
            raise  # the database or the store is away: the lease brings the row back
        except (RejectedInput, MissingObject) as error:
            await self._end(row, "failed", str(error))
        except StepFailed as error:
            await self._refused(row, str(error))
        except Exception as error:  # a bad row must not hold up its neighbours
            log.error("a sending broke", export=str(row.export_id), error=type(error).__name__)
            await self._refused(row, f"sending ended with an unexpected {type(error).__name__}")
        else:
            await self._sent(row, receipt)

    async def _parcel(self, row: Export) -> Parcel:
        if self._clock.now() > row.until:
            raise _Over("failed", "its time is over" + (f"; last: {row.reason}" if row.reason else ""))
        if row.destination not in self._settings.destinations:
            raise ReceiverAway("no destination of this name is configured")
        report = await self._queue.study_report(row.result_id)
        if report is None:
            raise _Over("cancelled", "it was filed before reports were of studies; its study is told anew")
        if row.action == "withdraw":
            return await self._taken_back(row, report)
        if report.withdrawn_at is not None:
            raise _Over("cancelled", "a result of it was withdrawn before")
        chain = await self._queue.study_report_chain(row.result_id)
        if chain[-1].report_id != row.result_id and not await self._left(row.result_id, row.destination):
            raise _Over("cancelled", "a later revision was made before it left")
        to = self._settings.destinations[row.destination]
        others = [await self._images.beginning(view, to) for view in report.views[1:]]
        data, results = await self._images.whole(report.views[0], to), await self._results(report)
        follows = report.follows if report.follows and await self._left(report.follows, row.destination) else None
        return await self._in_thread(lambda: self._told(report, results, data, others, follows, to))

    async def _taken_back(self, row: Export, report: StudyReport) -> Parcel:
        """Over every revision up to this one that the destination has; nothing where it has none."""
        chain = [
            each for each in await self._queue.study_report_chain(row.result_id) if each.revision <= report.revision
        ]
        told: list[UUID] = []
        sent: set[str] = set()
        for each in chain:
            delivered = await self._queue.delivered(each.report_id, row.destination)
            if any(action != "withdraw" for action, _, _ in delivered):
                told.append(each.report_id)
                sent.update(uid for _, _, uids in delivered for uid in uids)
        if report.report_id not in told:
            raise _Over("cancelled", "the report itself was never sent there")
        to = self._settings.destinations[row.destination]
        data, results = await self._images.whole(report.views[0], to), await self._results(report)
        return await self._in_thread(lambda: self._rejected(row, report, results, data, told, sent))

    async def _left(self, report: UUID, destination: str) -> bool:
        """Whether a destination has a report, or may have it."""
        delivered = await self._queue.delivered(report, destination)
        return any(action != "withdraw" for action, _, _ in delivered)

    async def _results(self, report: StudyReport) -> dict[UUID, ResultPublished]:
        found = {}
        for result_id in report.results:
            stored = await self._queue.result(result_id)
            if stored is None:
                raise ReceiverAway("the database does not know the result; `clinstream rebuild` makes it anew")
            found[result_id] = stored.result
        return found

    def _told(
        self,
        report: StudyReport,
        results: Mapping[UUID, ResultPublished],
        data: bytes,
        others: Sequence[bytes],
        follows: UUID | None,
        to: Destination,
    ) -> Parcel:
        """Runs in a thread; the library that writes reports is imported here, by the one process that needs it."""
        from consumers.exporting import package

        card = self._cards.get(report.task)
        what = account.of_study(report, results, card, follows=follows, edition=edition(to))
        return package.told(what, data, others, presentation_state=to.presentation_state)

    def _rejected(
        self,
        row: Export,
        report: StudyReport,
        results: Mapping[UUID, ResultPublished],
        data: bytes,
        told: Sequence[UUID],
        sent: Collection[str],
    ) -> Parcel:
        """Runs in a thread, as `_told` does."""
        from consumers.exporting import package

        to = self._settings.destinations[row.destination]
        what = account.of_study(report, results, self._cards.get(report.task), edition=edition(to))
        return package.taken_back(replace(what, told_at=row.filed_at.timestamp()), data, told, sent)

    async def _sent(self, row: Export, receipt: Receipt) -> None:
        await self._end(row, "confirmed" if receipt.confirmed else "sent", receipt.note, receipt.ids)

    async def _refused(self, row: Export, reason: str) -> None:
        if row.refusals + 1 >= REFUSALS:
            await self._end(row, "failed", reason)
        else:
            await self._again(row, reason, row.refusals + 1)

    async def _again(self, row: Export, reason: str, refusals: int) -> None:
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(row.attempts - 1, 10))
        telemetry.metrics().exports.labels(destination=row.destination, state="again").inc()
        await self._queue.put_off_export(row.export_id, self._clock.now() + timedelta(seconds=pause), reason, refusals)

    async def _end(self, row: Export, state: ExportState, reason: str, sent: Sequence[str] = ()) -> None:
        await self._queue.end_export(row.export_id, state, reason, sent)
        telemetry.metrics().exports.labels(destination=row.destination, state=state).inc()
        log.info("a result left" if sent else "a result stays", export=str(row.export_id), state=state, reason=reason)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
