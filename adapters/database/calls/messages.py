"""The outbox: what was decided in a transaction and waits to be sent."""

from collections.abc import Awaitable, Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import outbox
from adapters.database.calls.base import Calls
from adapters.database.records import OutboxRow


class Messages(Calls):
    """The outbox: what was decided in a transaction and waits to be sent."""

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
