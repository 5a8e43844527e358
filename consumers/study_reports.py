"""Studies that something happened to, looked at until all of them has ended: what is to be told is filed to leave.

One report a study, model and revision. A study whose senders are not done, or of which an image has no outcome yet, is
looked at again; nothing waits for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from adapters import telemetry
from adapters.clock import Clock
from adapters.database import Export, ExportAction, StoredResult
from adapters.database.study_reports import Known, StudyFacts, StudyReport
from adapters.settings import ExportSettings
from consumers.exporting import study
from consumers.exporting.study import Patience, Told
from schemas import ids
from schemas.card import IntendedUse, ModelCard
from schemas.errors import Unavailable
from schemas.events import Answer

log = telemetry.logger("study-reports")

AT_ONCE = 50
EACH_S = 1.0
AGAIN = timedelta(seconds=2)
LATER = 4
"""What is told as not analysed may be refused yet, which no event says here: it is looked at again, each time after a
fourth of its age, as long as anything could leave."""


class Desk(Protocol):
    """The part of the database that is used here; every call raises DatabaseUnavailable."""

    async def due_studies(self, limit: int) -> list[tuple[str, int]]: ...
    async def study_facts(self, study: str) -> StudyFacts: ...
    async def unseen_objects(self, events: Sequence[UUID]) -> dict[UUID, Known]: ...
    async def result(self, result_id: UUID) -> StoredResult | None: ...
    async def tell_study(
        self,
        study: str,
        number: int,
        again: datetime | None,
        made: Sequence[StudyReport],
        gone: Sequence[UUID],
        rows: Sequence[Export],
    ) -> None: ...


class StudyReports:
    """Rounds for ever; several may run: a report is named by what it says, so it is filed once."""

    def __init__(self, cards: Mapping[str, ModelCard], settings: ExportSettings, desk: Desk, clock: Clock) -> None:
        self._cards = {name: card for name, card in cards.items() if card.consumes == "image"}
        self._settings, self._desk, self._clock = settings, desk, clock
        self._within = timedelta(hours=settings.deliver_within_h)
        self._patience = Patience(timedelta(minutes=settings.analysed_within_min))

    async def run(self) -> None:
        """Ends by cancellation; waits while the database is away."""
        while True:
            try:
                await self.once()
            except Unavailable as error:
                log.warning("the reports of studies wait", reason=type(error).__name__)
            await self._clock.sleep(EACH_S)

    async def once(self) -> None:
        """Looks at what is due; raises Unavailable."""
        for name, number in await self._desk.due_studies(AT_ONCE):
            await self._look(name, number)

    async def _look(self, name: str, number: int) -> None:
        now = self._clock.now()
        facts = await self._desk.study_facts(name)
        if facts.receiving is not False:
            # Without a line the ledger has not come to it yet; where it never does, nothing holds the mark for ever.
            await self._desk.tell_study(name, number, now + AGAIN, [], [], [])
            return
        waiting = study.pending(facts)
        overdue = facts.last_at is None or facts.last_at + self._patience.analysis <= now
        if waiting and not overdue:
            await self._desk.tell_study(name, number, now + AGAIN, [], [], [])
            return
        late = await self._claimed(waiting) if waiting else []
        said = study.told(facts, late, await self._answers(facts), self._cards, self._patience)
        await self._tell(facts, number, said, now, self._later(facts, now) if late else None)

    def _later(self, facts: StudyFacts, now: datetime) -> datetime | None:
        if facts.last_at is None or now >= facts.last_at + self._within:
            return None
        return now + max((now - facts.last_at) / LATER, AGAIN)

    async def _tell(
        self, facts: StudyFacts, number: int, said: Sequence[Told], now: datetime, again: datetime | None
    ) -> None:
        before = {each.task: each for each in facts.reports}
        made: list[StudyReport] = []
        gone: list[UUID] = []
        rows: list[Export] = []
        arrived = max((each.observed_at for each in facts.objects if each.observed_at), default=facts.last_at) or now
        for what in said:
            last = before.get(what.task)
            if last is not None and (last.digest, last.withdrawn_at) == (what.digest, None):
                continue
            until = max(arrived, what.changed_at or arrived) + self._within
            if until <= now:
                continue
            report = study.report(facts.study_id, what, last, now)
            made.append(report)
            rows += self._rows(facts, report, "amend" if what.changed and last else "publish", what.urgent, until, now)
        withdrawn = {each.result_id for each in facts.said if each.withdrawn_at is not None}
        unsaid = {study.ANY_TASK} - {each.task for each in said}  # it has an ending of some model's now, or none at all
        for last in facts.reports:
            if last.withdrawn_at is None and (withdrawn & set(last.results) or last.task in unsaid):
                gone.append(last.report_id)
                rows[:0] = self._rows(facts, last, "withdraw", False, now + self._within, now)
        await self._desk.tell_study(facts.study_id, number, again, made, gone, rows)

    def _rows(
        self, facts: StudyFacts, report: StudyReport, action: ExportAction, urgent: bool, until: datetime, now: datetime
    ) -> list[Export]:
        """Goes where the routing rows of its images said, else to the usual destinations."""
        routed = [each.destinations for each in facts.objects if each.destinations is not None]
        chosen = self._settings.chosen if not routed else tuple(sorted({name for each in routed for name in each}))
        lead = report.views[0]
        return [
            Export(
                export_id=ids.export_id(report.report_id, action, "", destination),
                result_id=report.report_id,
                task=report.task,
                object_id=lead.object_id,
                subject_id=lead.subject_id,
                action=action,
                destination=destination,
                urgent=urgent,
                until=until,
                filed_at=now,
                changed=dict(report.changed) if action == "amend" else {},
            )
            for destination in chosen
        ]

    async def _claimed(self, waiting: Sequence[Known]) -> list[Known]:
        """Those that a model might have claimed: of what no preparation has seen, the class of object tells."""
        seen = [each for each in waiting if each.media_type == study.DICOM]
        names = {each.event_id: each.object_id for each in waiting if not each.media_type}
        found = await self._desk.unseen_objects(sorted(names)) if names else {}
        return seen + [
            replace(each, object_id=names[event])
            for event, each in sorted(found.items())
            if any(_may_claim(card.intended_use, each) for card in self._cards.values())
        ]

    async def _answers(self, facts: StudyFacts) -> dict[UUID, Answer]:
        found: dict[UUID, Answer] = {}
        for each in facts.said:
            if each.task in self._cards and each.withdrawn_at is None:
                stored = await self._desk.result(each.result_id)
                if stored is not None:
                    found[each.result_id] = stored.result.answer
        return found


def _may_claim(use: IntendedUse, known: Known) -> bool:
    """As far as class and modality tell."""
    by_class = not use.sop_classes or known.sop_class_uid in use.sop_classes
    return by_class and (not use.modalities or known.modality in use.modalities)
