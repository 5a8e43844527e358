"""Clinicians' assessments, and the training that they lead to."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import assessments, outbox, releases, runs, versions
from adapters.database.calls.base import Calls
from adapters.database.records import Correction, Run, RunState, State, Version
from schemas.events import ResultAssessed, RetrainRequested


class Learning(Calls):
    """Clinicians' assessments, and the training that they lead to."""

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
