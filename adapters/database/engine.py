"""Connections to PostgreSQL and the manner of one transaction: timeouts, retries after a race, shielded commits."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from adapters.database.errors import is_race, translated
from schemas.errors import DatabaseUnavailable

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]

CONNECT_TIMEOUT_S = 5.0
RACES = 50


class Raced(Exception):
    """Another transaction took what this one had counted on; roll back and run it again."""


def make_engine(url: str, *, pool_size: int, statement_timeout_s: float, name: str = "clinstream") -> AsyncEngine:
    """A pool of at most `pool_size` connections; nothing is opened before the first use. A timeout of 0 is none.

    `force_custom_plan` because the tables start empty: a generic plan made then would scan them in full until the
    first ANALYZE. JIT compilation would cost more than these short statements. `hide_parameters` keeps personal
    data out of error texts.
    """
    milliseconds = str(int(statement_timeout_s * 1000))
    return create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=statement_timeout_s or None,
        hide_parameters=True,
        connect_args={
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": statement_timeout_s + CONNECT_TIMEOUT_S if statement_timeout_s else None,
            "server_settings": {
                "application_name": name,
                "statement_timeout": milliseconds,
                "idle_in_transaction_session_timeout": milliseconds,
                "plan_cache_mode": "force_custom_plan",
                "jit": "off",
                "timezone": "UTC",
            },
        },
    )


class Transactions:
    """Runs pieces of work, each in one transaction of its own, and waits for all of them when closed."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._running: set[asyncio.Task[object]] = set()

    async def run(self, work: Work[T]) -> T:
        """The result of `work`, committed.

        A caller that is cancelled meanwhile leaves the transaction to finish: its commit is never cut in half.
        Raises DatabaseUnavailable for an outage, and when `RACES` attempts all lost against others.
        """
        task = asyncio.ensure_future(self._attempts(work))
        self._running.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Waits for the transactions under way, then closes the connections."""
        if self._running:
            await asyncio.wait(self._running)
        await self._engine.dispose()

    def _forget(self, task: "asyncio.Task[object]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: after a cancelled caller nobody else asks for it

    async def _attempts(self, work: Work[T]) -> T:
        with translated():
            for _ in range(RACES):
                try:
                    async with self._engine.begin() as connection:
                        return await work(connection)
                except Raced:
                    continue
                except DBAPIError as error:
                    if not is_race(error):
                        raise
        raise DatabaseUnavailable(f"a transaction lost against concurrent ones {RACES} times")
