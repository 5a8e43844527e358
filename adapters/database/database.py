"""The one object through which services and commands use PostgreSQL; what each call does is in its neighbours."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.clock import Clock
from adapters.database.archive import Archive
from adapters.database.calls.doors import Doors
from adapters.database.calls.exports import Exports
from adapters.database.calls.learning import Learning
from adapters.database.calls.messages import Messages
from adapters.database.calls.releases import Releases
from adapters.database.calls.results import Results
from adapters.database.calls.wearers import Wearers
from adapters.database.engine import Transactions, make_engine
from adapters.database.glucose_views import GlucoseViews
from adapters.database.shelf import Shelf
from adapters.database.wearer_models import WearerModels
from adapters.settings import Settings


class Database(Results, Wearers, Releases, Learning, Messages, Doors, Exports):
    """PostgreSQL as the application role; `glucose` holds what readings come to.

    Every method raises DatabaseUnavailable when it cannot be reached.

    Each call is one transaction, committed before it returns; a caller that is cancelled does not interrupt it.
    """

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        super().__init__(transactions, clock)
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


async def _probe(connection: AsyncConnection) -> None:
    await connection.execute(text("SELECT 1"))
