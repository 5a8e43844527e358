"""The outbox of the fake database."""

from collections.abc import Awaitable, Callable, Sequence

from adapters.database import OutboxRow
from adapters.fakes.database.state import State


class Messages(State):
    """The outbox of the fake database."""

    async def unsent(self, limit: int = 100) -> list[OutboxRow]:
        """See Database.unsent."""
        await self.probe()
        return [row for row in self.outbox if row.id not in self.sent][:limit]

    async def mark_sent(self, ids: Sequence[int]) -> None:
        """See Database.mark_sent."""
        await self.probe()
        self.sent |= set(ids)

    async def relay(self, send: Callable[[Sequence[OutboxRow]], Awaitable[None]], limit: int = 100) -> int:
        """See Database.relay."""
        rows = await self.unsent(limit)
        if rows:
            await send(rows)
            await self.mark_sent([row.id for row in rows])
        return len(rows)

    async def enqueue(self, topic: str, key: bytes | None, headers: Sequence[tuple[str, bytes]], value: bytes) -> int:
        """See Database.enqueue."""
        await self.probe()
        self.outbox.append(OutboxRow(len(self.outbox) + 1, topic, key, list(headers), value))
        return len(self.outbox)
