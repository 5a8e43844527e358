"""Stored objects as DICOMweb, commitments and the ledger of studies ask for them; SQL is in the neighbours."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.clock import Clock
from adapters.database import commitments, instances, rejections, studies
from adapters.database.commitments import Commitment, Kept
from adapters.database.engine import Transactions
from adapters.database.instances import Found, Instance, Level, Located, Match
from adapters.database.rejections import Rejection
from adapters.database.studies import Arrived, StudyEntry
from schemas.studies import Quiet, Source


class Archive:
    """Each call is one transaction; each raises DatabaseUnavailable when PostgreSQL cannot be reached."""

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock

    async def search(
        self, level: Level, matches: Sequence[Match], *, limit: int, offset: int, by_whom: str
    ) -> list[Found]:
        """What matches at a level, the newest study date first; audited."""
        return await self._transactions.run(
            lambda c: instances.search(c, level, matches, limit=limit, offset=offset, by_whom=by_whom)
        )

    async def locate(self, matches: Sequence[Match], *, by_whom: str) -> list[Located]:
        """Where the objects that match lie, the newest content of each; audited."""
        return await self._transactions.run(lambda c: instances.locate(c, matches, by_whom=by_whom))

    async def take(
        self, rows: Sequence[Instance], arrived: Sequence[Arrived], rejected: Sequence[Rejection], quiet: Quiet
    ) -> None:
        """Notes headers, enters objects into the ledger and withdraws what was rejected, all or nothing."""

        async def work(connection: AsyncConnection) -> None:
            now = self._clock.now()
            await instances.note(connection, rows)
            await studies.arrived(connection, arrived, quiet, now)
            if rejected:
                await rejections.note(connection, rejected)
                await rejections.apply(connection, now)

        await self._transactions.run(work)

    async def noted(self, objects: Sequence[Arrived]) -> set[UUID]:
        """The events of these objects that the ledger has."""
        return await self._transactions.run(lambda c: studies.noted(c, objects))

    async def withdraw_rejected(self) -> int:
        """Withdraws results that appeared after their object was rejected; returns how many."""
        return await self._transactions.run(lambda c: rejections.apply(c, self._clock.now()))

    async def close_quiet(self, quiet: Quiet) -> list[StudyEntry]:
        """Closes studies of which nothing came for long enough; returns them."""
        now = self._clock.now()
        before = now - timedelta(seconds=min(quiet.alone_s, quiet.released_s))
        return await self._transactions.run(lambda c: studies.close_quiet(c, quiet, now, before))

    async def expect(
        self, study_id: str, sender: str, source: Source, number: int | None, listed: Iterable[str], quiet: Quiet
    ) -> StudyEntry:
        """Notes what is expected of a study and sender; the line as it stands then."""
        names = list(listed)
        return await self._transactions.run(
            lambda c: studies.expect(c, (study_id, sender), source, number, names, quiet, self._clock.now())
        )

    async def studies(self, state: str | None = None, limit: int = 50) -> list[StudyEntry]:
        """Lines of the ledger, the most recent first."""
        return await self._transactions.run(lambda c: studies.listing(c, state, limit))

    async def study(self, ids: Sequence[str]) -> list[StudyEntry]:
        """The lines of these studies."""
        return await self._transactions.run(lambda c: studies.show(c, ids))

    async def ask_commitment(self, asked: Commitment, first_try: datetime) -> None:
        """Writes a request for storage commitment; it is pending once this returns."""
        await self._transactions.run(lambda c: commitments.ask(c, asked, first_try))

    async def claim_commitments(
        self, *, others: timedelta, lease: timedelta, mine: Sequence[str], limit: int
    ) -> list[Commitment]:
        """Requests whose time has come, leased to the caller."""
        now = self._clock.now()
        return await self._transactions.run(
            lambda c: commitments.claim(c, now, others=others, lease=lease, mine=mine, limit=limit)
        )

    async def kept(self, asked: Commitment) -> dict[str, Kept]:
        """What is stored of the objects that were asked for, by instance; audited."""
        return await self._transactions.run(lambda c: commitments.kept(c, asked))

    async def expect_committed(self, asked: Commitment, quiet: Quiet = Quiet()) -> None:  # noqa: B008 - frozen
        """Enters into the ledger what the sender thinks to have sent, in the studies of which something came."""
        names = [instance for _, instance in asked.asked]

        async def work(connection: AsyncConnection) -> None:
            found = await studies.studies_of(connection, asked.sender, names)
            for study in sorted(found):
                # Objects that never came can only be placed where there is one study for them.
                listed = names if len(found) == 1 else sorted(found[study])
                place = (study, asked.sender)
                await studies.expect(connection, place, "commitment", None, listed, quiet, self._clock.now())

        await self._transactions.run(work)

    async def put_off(self, asked: Commitment, next_at: datetime, *, failed: bool, give_up: bool) -> None:
        """Another try later, or never."""
        await self._transactions.run(lambda c: commitments.later(c, asked, next_at, failed=failed, give_up=give_up))

    async def commitment_reported(self, asked: Commitment, failed: Sequence[str], keep_until: datetime) -> None:
        """The report was taken by its sender."""
        now = self._clock.now()
        await self._transactions.run(lambda c: commitments.reported(c, asked, failed, now, keep_until))
