"""What is recorded of answers, and how it is found again, shown and withdrawn."""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from adapters.database import comparisons, outcomes, queries, recording, results_changes
from adapters.database.calls.base import Calls
from adapters.database.records import (
    Followable,
    Key,
    Recorded,
    Refusal,
    ResultFilter,
    StoredOutcome,
    StoredResult,
    Trail,
    Visible,
    Withdrawal,
)
from schemas.events import Answer, OutcomeDecided


class Results(Calls):
    """What is recorded of answers, and how it is found again, shown and withdrawn."""

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
