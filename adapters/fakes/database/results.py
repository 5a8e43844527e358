"""Answers, what is visible of them and how events end, in dictionaries."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from adapters.database import (
    Followable,
    Key,
    Recorded,
    Refusal,
    ResultFilter,
    Shown,
    StoredOutcome,
    StoredResult,
    Told,
    Visible,
    Withdrawal,
)
from adapters.database.recording import Standing, newcomers, outcomes_of
from adapters.database.results_changes import ORPHANED
from adapters.database.results_changes import announcement as announcement_of_change
from adapters.fakes.database.messages import Messages
from adapters.fakes.database.state import in_order, stored_image
from schemas import ids
from schemas.errors import UserError
from schemas.events import Answer, OutcomeDecided, ResultWithdrawn


class Results(Messages):
    """Answers, what is visible of them and how events end, in dictionaries."""

    async def record(self, answers: Sequence[Answer]) -> list[Recorded]:
        """See Database.record."""
        await self.probe()
        now = self._clock.now()
        fresh = {answer.answer_id for answer in answers} - self.answers.keys()
        for answer in answers:
            self.answers.setdefault(answer.answer_id, answer)
        shown = [answer for answer in answers if answer.arm != "shadow"]
        for row in newcomers(shown, self._standing()):
            self.visible[row.key], self.visible_at[row.key] = row, now
            asked_by = self.answers[row.answer_id].follows
            if any(each.answer_id == asked_by and each.withdrawn_at for each in self.visible.values()):
                await self._take_back(row, ORPHANED)
        recorded = [self._recorded(answer, fresh) for answer in answers]
        self._keep(outcomes_of(recorded, now))
        return recorded

    async def decide(self, decided: Sequence[OutcomeDecided]) -> None:
        """See Database.decide."""
        await self.probe()
        self._keep(decided)

    async def already_visible(self, keys: Sequence[Key]) -> dict[Key, Visible]:
        """See Database.already_visible."""
        await self.probe()
        rows = [self.visible[key] for key in dict.fromkeys(keys) if key in self.visible]
        return {row.key: Visible(row.key, row.event_id, self._result(row), row.withdrawn_at) for row in rows}

    async def outcomes_of(self, event_ids: Sequence[UUID]) -> list[StoredOutcome]:
        """See Database.outcomes_of."""
        await self.probe()
        return [row for (event, _), row in sorted(self.outcomes.items()) if event in set(event_ids)]

    async def all_outcomes(self) -> list[tuple[UUID, str, str]]:
        """See Database.all_outcomes."""
        await self.probe()
        return [(event, task, row.fate) for (event, task), row in self.outcomes.items()]

    async def results(self, wanted: ResultFilter) -> list[StoredResult]:
        """See Database.results."""
        await self.probe()
        found = [
            self._stored(row)
            for row in self.visible.values()
            if (wanted.since is None or self.visible_at[row.key] >= wanted.since)
            and wanted.model in (None, row.key[2])
            and wanted.subject in (None, row.subject_id)
            and (wanted.simulated or not row.simulated)
        ]
        found.sort(key=lambda r: (-r.visible_at.timestamp(), r.result.object_id, r.result.task, -r.result.revision))
        return found[: wanted.limit]

    async def result(self, result_id: UUID) -> StoredResult | None:
        """See Database.result."""
        await self.probe()
        return next((self._stored(row) for row in self.visible.values() if row.answer_id == result_id), None)

    async def refused(self, wanted: ResultFilter) -> list[Refusal]:
        """See Database.refused."""
        await self.probe()
        found = [
            Refusal(row, self.decided_at[key])
            for key, row in self.outcomes.items()
            if row.fate == "refused"
            and (wanted.since is None or self.decided_at[key] >= wanted.since)
            and wanted.model in (None, row.task)
            and wanted.subject in (None, row.subject_id)
            and (wanted.simulated or not row.object_id.startswith(ids.SIMULATED))
        ]
        found.sort(key=lambda one: (-one.decided_at.timestamp(), str(one.outcome.event_id), one.outcome.task))
        return found[: wanted.limit]

    async def followable(self, result_ids: Sequence[UUID]) -> dict[UUID, Followable]:
        """See Database.followable."""
        await self.probe()
        last = {(row.key[0], row.key[2]): row.revision for row in self._standing()}
        return {
            row.answer_id: Followable(
                row.answer_id,
                row.withdrawn_at is not None,
                row.revision < last[row.key[0], row.key[2]],
                stored_image(self.images[row.event_id]) if row.event_id in self.images else None,
            )
            for row in self.visible.values()
            if row.answer_id in result_ids
        }

    async def told(self, uids: Sequence[str], subject: str, study: str) -> list[Told]:
        """See Database.told; `left` says whose each object is that left, and what it tells."""
        await self.probe()
        left = [self.left[uid] for uid in uids if uid in self.left]
        found = {each.result_id: each for of, where, each in left if of == subject or where == study}
        return [found[each] for each in sorted(found)]

    async def withdraw(self, result_id: UUID, *, by_whom: str, why: str) -> Withdrawal:
        """See Database.withdraw."""
        await self.probe()
        row = next((row for row in self.visible.values() if row.answer_id == result_id), None)
        if row is None:
            raise UserError(f"There is no result {result_id}; `clinstream results --json` shows the ids.")
        if row.withdrawn_at is not None:
            return Withdrawal(_shown(row), [], again=True)
        self.audit.append({"by_whom": by_whom, "purpose": why, "action": "results.withdraw"})
        asked = [r for r in self.visible.values() if self.answers[r.answer_id].follows == result_id]
        followed = sorted((r for r in asked if r.withdrawn_at is None), key=in_order)
        await self._take_back(row, why)
        for each in followed:
            await self._take_back(each, ORPHANED)
        return Withdrawal(_shown(row), [_shown(each) for each in followed], again=False)

    async def _take_back(self, row: Standing, why: str) -> None:
        now = self._clock.now()
        self.visible[row.key], self.withdrawn_why[row.key] = replace(row, withdrawn_at=now), why
        shown = _shown(row)
        event = ResultWithdrawn(
            result_id=shown.result_id,
            object_id=shown.object_id,
            subject_id=shown.subject_id,
            task=shown.task,
            revision=shown.revision,
            reason=why,
        )
        await self.enqueue(*announcement_of_change(shown, event, f"{shown.result_id}/withdrawn", now))


def _shown(row: Standing) -> Shown:
    thing, _, task = row.key
    return Shown(row.answer_id, thing, row.subject_id, task, row.revision, row.simulated, row.withdrawn_at)
