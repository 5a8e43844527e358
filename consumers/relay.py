"""What a transaction decided to say, said on the log: outbox rows in the order of their ids; nothing is decided here.

By `sent_at IS NULL ORDER BY id` and never by a last-id cursor: ids commit out of order. A row is marked after the
broker's acknowledgement, so a crash in between sends it twice; its `ce_id` is the same and readers dedupe.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from adapters import telemetry
from adapters.clock import Clock
from adapters.database import OutboxRow
from adapters.kafka import Message, Publisher
from schemas.errors import Unavailable

log = telemetry.logger("relay")

BATCH = 100
DEADLINE_S = 10.0
IDLE_S = 0.5
AWAY_S = 1.0


class Outbox(Protocol):
    """The part of the database that the relay uses."""

    async def relay(self, send: Callable[[Sequence[OutboxRow]], Awaitable[None]], limit: int = ...) -> int:
        """Hands unsent rows to `send` while holding them, then marks them sent."""
        ...


class Relay:
    """Several may run: rows in one's hands are left out by the others."""

    name = "loop"

    def __init__(self, outbox: Outbox, publisher: Publisher, clock: Clock) -> None:
        self._outbox, self._publisher, self._clock = outbox, publisher, clock

    async def once(self) -> int:
        """Sends at most 100 waiting rows and returns how many; raises Unavailable, and then nothing is marked."""
        return await self._outbox.relay(self._send, BATCH)

    async def _send(self, rows: Sequence[OutboxRow]) -> None:
        messages = [Message(row.topic, row.key, row.headers, row.value) for row in rows]
        # Less than the server's limit on idle transactions, whose rows are held meanwhile.
        await self._publisher.publish_many(messages, deadline_s=DEADLINE_S)
        for row in rows:
            telemetry.metrics().outbox_sent.labels(topic=row.topic).inc()

    async def run(self) -> None:
        """Sends what waits, for ever; waits while the broker or the database is away. Ends by cancellation."""
        parked = telemetry.metrics().parked
        reason = ""
        while True:
            try:
                sent = await self.once()
            except Unavailable as error:
                reason = type(error).__name__
                parked.labels(lane=self.name, reason=reason).set(1)
                log.warning("the relay waits", reason=reason)
                await self._clock.sleep(AWAY_S)
                continue
            if reason:
                parked.labels(lane=self.name, reason=reason).set(0)
                reason = ""
            if not sent:
                await self._clock.sleep(IDLE_S)
