"""What no event announces: studies of which nothing more comes, and results of objects that were rejected before."""

from collections.abc import Sequence
from typing import Protocol

from adapters import telemetry
from adapters.clock import Clock
from adapters.database.studies import StudyEntry
from schemas.errors import Unavailable
from schemas.studies import Quiet

log = telemetry.logger("studies")

EACH_S = 2.0


class Ledger(Protocol):
    """The part of the database that is looked after."""

    async def close_quiet(self, quiet: Quiet) -> Sequence[StudyEntry]:
        """Closes studies of which nothing came for long enough; returns them."""
        ...

    async def withdraw_rejected(self) -> int:
        """Withdraws results that appeared after their object was rejected; returns how many."""
        ...


class StudyWatch:
    """Several may run: a line in one's hands is left out by the others, and a withdrawal changes nothing twice."""

    def __init__(self, ledger: Ledger, quiet: Quiet, clock: Clock) -> None:
        self._ledger, self._quiet, self._clock = ledger, quiet, clock

    async def once(self) -> None:
        """One round; raises Unavailable."""
        for closed in await self._ledger.close_quiet(self._quiet):
            log.info(
                "study closed",
                study=closed.study_id,
                sender=closed.sender,
                state=closed.state,
                why=closed.why,
                revision=closed.revision,
                received=closed.received,
            )
        if withdrawn := await self._ledger.withdraw_rejected():
            log.info("results of rejected objects were withdrawn", count=withdrawn)

    async def run(self) -> None:
        """Rounds for ever; waits while the database is away. Ends by cancellation."""
        while True:
            try:
                await self.once()
            except Unavailable as error:
                log.warning("the ledger of studies waits", reason=type(error).__name__)
            await self._clock.sleep(EACH_S)
