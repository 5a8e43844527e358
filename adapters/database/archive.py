"""Stored objects as DICOMweb, commitments and the ledger of studies ask for them; SQL is in the neighbours."""

from collections.abc import Sequence

from adapters.clock import Clock
from adapters.database import instances
from adapters.database.engine import Transactions
from adapters.database.instances import Found, Instance, Level, Located, Match


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

    async def note(self, rows: Sequence[Instance]) -> None:
        """Stores headers of objects; what is there already stays."""
        await self._transactions.run(lambda c: instances.note(c, rows))
