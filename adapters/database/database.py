"""The one object through which services and commands use PostgreSQL; what each call does is in its neighbours."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.clock import Clock
from adapters.database import (
    assessments,
    comparisons,
    door_journal,
    exports,
    identities,
    outbox,
    outcomes,
    queries,
    readings,
    recording,
    releases,
    results_changes,
    runs,
    study_reports,
    versions,
    wearers,
)
from adapters.database.archive import Archive
from adapters.database.door_journal import DoorEntry, DoorFilter
from adapters.database.engine import Transactions, make_engine
from adapters.database.glucose_views import GlucoseViews
from adapters.database.records import (
    Correction,
    Export,
    ExportState,
    Followable,
    ImageIdentity,
    Key,
    Order,
    OutboxRow,
    Recorded,
    Refusal,
    Release,
    ResultFilter,
    Run,
    RunState,
    State,
    StoredOutcome,
    StoredReading,
    StoredResult,
    Taking,
    Told,
    Trail,
    Version,
    Visible,
    Wearer,
    Window,
    Withdrawal,
)
from adapters.database.shelf import Shelf
from adapters.database.study_reports import Known, StudyFacts, StudyReport
from adapters.database.wearer_models import WearerModels
from adapters.settings import Settings
from adapters.wearers import Credential
from schemas.card import ModelCard
from schemas.events import Answer, OutcomeDecided, ResultAssessed, RetrainRequested


class Database:
    """PostgreSQL as the application role; `glucose` holds what readings come to.

    Every method raises DatabaseUnavailable when it cannot be reached.

    Each call is one transaction, committed before it returns; a caller that is cancelled does not interrupt it.
    """

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock
        self.glucose = GlucoseViews(transactions, clock)
        self.shelf = Shelf(transactions, clock)
        self.wearer_models = WearerModels(transactions, clock)

    @classmethod
    def open(cls, settings: Settings, clock: Clock, *, as_owner: bool = False) -> "Database":
        """A pool that connects at first use. `as_owner` connects as the role that may empty tables (for rebuild)."""
        database = settings.database
        engine = make_engine(
            database.migration_url if as_owner else database.url,
            pool_size=database.pool_size,
            statement_timeout_s=database.statement_timeout_s,
        )
        return cls(Transactions(engine), clock)

    @property
    def archive(self) -> Archive:
        """Stored objects, studies and commitments, over the same connections."""
        return Archive(self._transactions, self._clock)

    async def close(self) -> None:
        """Waits for what is under way, then closes the connections."""
        await self._transactions.close()

    async def probe(self) -> None:
        """Returns when the database answers; DatabaseUnavailable when it does not."""
        await self._transactions.run(_probe)

    async def record(self, answers: Sequence[Answer]) -> list[Recorded]:
        """Stores answers, decides which are visible, and notes the outcomes; one `Recorded` an answer, in order."""
        if not answers:
            return []
        return await self._transactions.run(lambda c: recording.record(c, answers, self._clock.now()))

    async def decide(self, decided: Sequence[OutcomeDecided]) -> None:
        """Stores outcomes; a fate of higher rank replaces a lower one (`outcomes.RANK`), a repeat changes nothing."""
        if decided:
            await self._transactions.run(lambda c: outcomes.upsert(c, decided, self._clock.now()))

    async def already_visible(self, keys: Sequence[Key]) -> dict[Key, Visible]:
        """The visible results of those (object_id, content, task) that have one."""
        if not keys:
            return {}
        return await self._transactions.run(lambda c: recording.already_visible(c, keys))

    async def windows(self, asked: Sequence[Wearer]) -> dict[Wearer, Window]:
        """The windows of these wearers as they stand; an empty one without stamp where nothing is stored."""
        if not asked:
            return {}
        return await self._transactions.run(lambda c: readings.windows(c, asked, self._clock.now()))

    async def credentials(self, *, revoked: bool = False) -> list[Credential]:
        """The credentials of uploaders, oldest first; with `revoked` also those that open nothing any more."""
        return await self._transactions.run(lambda c: wearers.every(c, revoked=revoked))

    async def add_credential(self, credential: Credential, *, by_whom: str) -> None:
        """Stores a new credential, audited."""
        await self._transactions.run(lambda c: wearers.add(c, credential, by_whom=by_whom))

    async def revoke_credentials(self, ids: Sequence[UUID], *, by_whom: str) -> list[UUID]:
        """Revokes these credentials, audited; those that were not revoked before."""
        now = self._clock.now()
        return await self._transactions.run(lambda c: wearers.revoke(c, ids, by_whom=by_whom, now=now))

    async def readings_at(self, places: Sequence[tuple[Wearer, int]]) -> list[StoredReading]:
        """Every stored content of these (wearer, sensor time in milliseconds)."""
        if not places:
            return []
        return await self._transactions.run(lambda c: readings.at(c, places))

    async def take(self, taking: Taking) -> list[Recorded]:
        """Stores readings with their answers and outcomes; one `Recorded` an answer, in order.

        Raises WindowsMoved, with nothing written, when a stamp is not the present one of its wearer.
        """
        return await self._transactions.run(lambda c: readings.take(c, taking, self._clock.now()))

    async def note_images(self, rows: Sequence[ImageIdentity]) -> None:
        """Stores where images lie and whose they are; what is there already stays as it is."""
        await self._transactions.run(lambda c: identities.note(c, rows))

    async def releases(self, since: int = 0) -> list[Release]:
        """The release log after epoch `since`, oldest first; no lower epoch appears later."""
        return await self._transactions.run(lambda c: releases.since(c, since))

    async def ensure_starters(self, cards: Iterable[ModelCard]) -> None:
        """Promotes the version of each card whose task has no decision yet; safe to repeat and to race."""
        kept = list(cards)
        await self._transactions.run(lambda c: releases.ensure_starters(c, kept, self._clock.now()))

    async def set_release(
        self, task: str, version: str, state: State, *, share: float = 0.0, by_whom: str, why: str
    ) -> Release:
        """Writes a release decision, its audit line and its announcement (to the outbox) in one transaction.

        A promotion retires the version promoted before.
        Raises UserError for a share that cannot be served.
        """

        async def work(connection: AsyncConnection) -> Release:
            details: dict[str, object] = {"task": task, "version": version, "state": state, "share": share}
            await identities.audit(connection, by_whom=by_whom, purpose=why, action="release.set", details=details)
            now = self._clock.now()
            made = await releases.add(
                connection, task=task, version=version, state=state, share=share, by_whom=by_whom, why=why, now=now
            )
            await outbox.enqueue(connection, *releases.announcement(made))
            return made

        return await self._transactions.run(work)

    async def outcomes_of(self, event_ids: Sequence[UUID]) -> list[StoredOutcome]:
        """The outcomes of these events, in the order of event and task."""
        if not event_ids:
            return []
        return await self._transactions.run(lambda c: outcomes.of_events(c, event_ids))

    async def all_outcomes(self) -> list[tuple[UUID, str, str]]:
        """(event_id, task, fate) of every outcome."""
        return await self._transactions.run(outcomes.every)

    async def results(self, wanted: ResultFilter) -> list[StoredResult]:
        """Visible results, newest first."""
        return await self._transactions.run(lambda c: queries.results(c, wanted))

    async def result(self, result_id: UUID) -> StoredResult | None:
        """The visible result with this id, if there is one."""
        return await self._transactions.run(lambda c: queries.result_by_id(c, result_id))

    async def with_prior(self, result_id: UUID) -> tuple[StoredResult | None, StoredResult | None]:
        """The visible result with this id and the one before it of the same patient and task; None for either."""
        return await self._transactions.run(lambda c: comparisons.with_prior(c, result_id))

    async def refused(self, wanted: ResultFilter) -> list[Refusal]:
        """What models did not take, newest first."""
        return await self._transactions.run(lambda c: comparisons.refused(c, wanted))

    async def followable(self, result_ids: Sequence[UUID]) -> dict[UUID, Followable]:
        """How these results stand now, each with its image, by id; one that is not visible is left out."""
        if not result_ids:
            return {}
        return await self._transactions.run(lambda c: queries.followable(c, result_ids))

    async def withdraw(self, result_id: UUID, *, by_whom: str, why: str) -> Withdrawal:
        """Withdraws a visible result and the follow-ups that it asked for, audited and announced, in one transaction.

        Repeating it changes nothing. Raises UserError when there is no such result.
        """
        return await self._transactions.run(
            lambda c: results_changes.withdraw(c, result_id, by_whom=by_whom, why=why, now=self._clock.now())
        )

    async def trail(
        self,
        *,
        events: Sequence[UUID] = (),
        objects: Sequence[str] = (),
        studies: Sequence[str] = (),
        subjects: Sequence[str] = (),
    ) -> Trail:
        """Images, answers, results and outcomes of these events, objects, studies and subjects; no personal data."""
        ask = partial(queries.trail, events=events, objects=objects, studies=studies, subjects=subjects)
        return await self._transactions.run(ask)

    async def look_up(self, number: str, *, by_whom: str, purpose: str) -> tuple[set[str], set[str]]:
        """(study ids, subject ids) of an accession number, Study Instance UID or patient id; the read is audited."""
        return await self._transactions.run(lambda c: identities.look_up(c, number, by_whom=by_whom, purpose=purpose))

    async def unsent(self, limit: int = 100) -> list[OutboxRow]:
        """The oldest outbox messages that were not sent yet, as they stand now; `relay` also keeps others off them."""
        return await self._transactions.run(lambda c: outbox.unsent(c, limit))

    async def mark_sent(self, ids: Sequence[int]) -> None:
        """Notes that the broker acknowledged these messages."""
        await self._transactions.run(lambda c: outbox.mark_sent(c, ids, self._clock.now()))

    async def relay(self, send: Callable[[Sequence[OutboxRow]], Awaitable[None]], limit: int = 100) -> int:
        """Hands unsent messages to `send` while holding their rows, marks them sent, and returns how many.

        When `send` raises, they stay unsent and the error comes out here.
        """

        async def work(connection: AsyncConnection) -> int:
            rows = await outbox.unsent(connection, limit)
            if rows:
                await send(rows)
                await outbox.mark_sent(connection, [row.id for row in rows], self._clock.now())
            return len(rows)

        return await self._transactions.run(work)

    async def enqueue(self, topic: str, key: bytes | None, headers: Sequence[tuple[str, bytes]], value: bytes) -> int:
        """Adds a message to the outbox."""
        return await self._transactions.run(lambda c: outbox.enqueue(c, topic, key, headers, value))

    async def assess(
        self, events: Sequence[ResultAssessed], rules: Mapping[str, assessments.Rules]
    ) -> list[assessments.Assessed]:
        """Takes assessments in their order, counts the corrections among them, and asks for retraining when a window is
        full; one `Assessed` an event."""

        async def work(connection: AsyncConnection) -> list[assessments.Assessed]:
            return [await assessments.assess(connection, event, rules, self._clock.now()) for event in events]

        return await self._transactions.run(work)

    async def corrections(self, task: str, until: datetime) -> list[Correction]:
        """What clinicians corrected of a task up to a time."""
        return await self._transactions.run(lambda c: assessments.corrections(c, task, until))

    async def retrain_windows(self) -> list[tuple[str, int, int]]:
        """(task, corrections in the open window, number of the window) of every task that was ever corrected."""
        return await self._transactions.run(assessments.windows)

    async def ask_for_training(self, asked: RetrainRequested) -> None:
        """Puts a person's request into the outbox."""
        await self._transactions.run(lambda c: outbox.enqueue(c, *runs.announcement(asked)))

    async def request_run(self, asked: RetrainRequested) -> bool:
        """Writes the row of a run; False when it is there already."""
        return await self._transactions.run(lambda c: runs.request(c, asked))

    async def claim_run(self, worker: str, lease: timedelta) -> Run | None:
        """Takes the oldest run that is free, or None."""
        return await self._transactions.run(lambda c: runs.claim(c, worker, lease, self._clock.now()))

    async def hold_run(self, run: Run, lease: timedelta) -> bool:
        """Prolongs the lease; False when somebody else has the run by now."""
        return await self._transactions.run(lambda c: runs.hold(c, run, lease, self._clock.now()))

    async def note_run(self, run: Run, stage: str, *, snapshot: str | None = None, version: str | None = None) -> bool:
        """Notes how far a run has come; False when somebody else has it by now."""
        return await self._transactions.run(lambda c: runs.note(c, run, stage, snapshot=snapshot, version=version))

    async def release_run(self, run: Run, why: str) -> None:
        """Gives an unfinished run back."""
        await self._transactions.run(lambda c: runs.release(c, run, why))

    async def end_run(
        self,
        run: Run,
        state: RunState,
        why: str,
        figures: Mapping[str, object],
        *,
        version: Version | None = None,
        moves: Sequence[tuple[str, State, float]] = (),
    ) -> bool:
        """Ends a run together with the version that it registers and its rows of the release log, in one transaction.

        False, and nothing is written, when somebody else has the run by now.
        """

        async def work(connection: AsyncConnection) -> bool:
            now = self._clock.now()
            if not await runs.end(connection, run, state, why, figures, now):
                return False
            if version is not None:
                await versions.add(connection, version)
            if moves:
                await releases.move(connection, moves, task=run.task, by_whom="trainer", why=why, now=now)
            return True

        return await self._transactions.run(work)

    async def runs(self, limit: int = 50) -> list[Run]:
        """The newest training runs."""
        return await self._transactions.run(lambda c: runs.every(c, limit))

    async def versions(self) -> list[Version]:
        """All trained versions, a task's in the order of their registration."""
        return await self._transactions.run(versions.every)

    async def add_version(self, version: Version, *, by_whom: str, why: str) -> bool:
        """Registers a version that a person brings, with its audit line; False when it is there already."""

        async def work(connection: AsyncConnection) -> bool:
            if not await versions.add(connection, version):
                return False
            details: dict[str, object] = {"task": version.task, "version": version.version}
            await identities.audit(connection, by_whom=by_whom, purpose=why, action="version.add", details=details)
            rows: list[tuple[str, State, float]] = [(version.version, "REGISTERED", 0.0)]
            await releases.move(connection, rows, task=version.task, by_whom=by_whom, why=why, now=self._clock.now())
            return True

        return await self._transactions.run(work)

    async def approve_version(self, task: str, version: str, *, by_whom: str, why: str) -> bool:
        """Notes a person's approval, with its audit line; False when it is unknown or was approved before."""

        async def work(connection: AsyncConnection) -> bool:
            details: dict[str, object] = {"task": task, "version": version}
            if not await versions.approve(connection, task, version, by_whom, self._clock.now()):
                return False
            await identities.audit(connection, by_whom=by_whom, purpose=why, action="version.approve", details=details)
            return True

        return await self._transactions.run(work)

    async def move_versions(
        self, task: str, rows: Sequence[tuple[str, State, float]], *, by_whom: str, why: str
    ) -> list[Release]:
        """Writes the rows of one move, its audit line and the announcements in one transaction."""

        async def work(connection: AsyncConnection) -> list[Release]:
            details: dict[str, object] = {"task": task, "rows": [list(row) for row in rows]}
            await identities.audit(connection, by_whom=by_whom, purpose=why, action="release.move", details=details)
            now = self._clock.now()
            made = await releases.move(connection, rows, task=task, by_whom=by_whom, why=why, now=now)
            for each in made:
                await outbox.enqueue(connection, *releases.announcement(each))
            return made

        return await self._transactions.run(work)

    async def order(self, wanted: Order) -> Order:
        """Files an order for the release manager and returns it with its number."""
        return await self._transactions.run(lambda c: versions.order(c, wanted, self._clock.now()))

    async def open_orders(self) -> list[Order]:
        """The orders that wait, in the order of their filing."""
        return await self._transactions.run(versions.open_orders)

    async def order_by_id(self, number: int) -> Order | None:
        """One order."""
        return await self._transactions.run(lambda c: versions.order_by_id(c, number))

    async def note_associations(self, entries: Sequence[DoorEntry]) -> None:
        """Stores what happened at a door; a repeat changes nothing."""
        if entries:
            await self._transactions.run(lambda c: door_journal.add(c, entries))

    async def associations(self, wanted: DoorFilter) -> list[DoorEntry]:
        """What happened at the doors, newest first."""
        return await self._transactions.run(lambda c: door_journal.entries(c, wanted))

    async def end_order(self, number: int, refused: str = "") -> None:
        """Marks an order as done, or as refused for a reason."""
        await self._transactions.run(lambda c: versions.end_order(c, number, refused, self._clock.now()))

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


async def _probe(connection: AsyncConnection) -> None:
    await connection.execute(text("SELECT 1"))
