"""Time as a thing that is handed in: the system's clock here, the one that tests turn by hand in `adapters.fakes`."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the rest of the house may ask about time."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        ...

    def time(self) -> float:
        """Seconds since the epoch (UTC); comparable between processes, may jump."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary point; never goes back, means nothing to another process."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits for `seconds`."""
        ...


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""
        return datetime.now(UTC)

    def time(self) -> float:
        """Seconds since the epoch (UTC)."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds from an arbitrary point; never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Waits for `seconds` of real time."""
        await asyncio.sleep(seconds)
