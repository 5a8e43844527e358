"""What is computed from readings, as services use it: metrics recomputed in one transaction, forecasts, their truth."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.clock import Clock
from adapters.database import forecasts, glucose_marks, glycaemia, wearer_models
from adapters.database.engine import Transactions
from adapters.database.forecasts import Accuracy, Prediction
from adapters.database.glucose_marks import Mark
from adapters.database.records import DaySums, MetricsRow, Own, PlainReading, Wearer
from schemas.events import GlycaemicFigures

# "glucview" in ASCII: one recomputation at a time, so that no older sums are written over newer ones.
LOCK = text("SELECT pg_try_advisory_xact_lock(7452460492862105975)")


class Arithmetic(Protocol):
    """How metrics follow from readings; `consumers.glycaemia` is one."""

    def sums_of(self, day: date, readings: Sequence[PlainReading]) -> DaySums:
        """The sums of a day."""
        ...

    def ends_touched(self, days: Iterable[date], ends: Iterable[date]) -> set[tuple[date, int]]:
        """The windows that changed days are in."""
        ...

    def figures(self, ends_on: date, size: int, days: Mapping[date, DaySums]) -> GlycaemicFigures:
        """The metrics of a window."""
        ...


@dataclass(frozen=True, slots=True)
class Recomputed:
    """What one round did: days computed anew, windows that became another revision, forecasts joined with truth."""

    wearers: int = 0
    days: int = 0
    revised: int = 0
    joined: int = 0


class GlucoseViews:
    """The tables computed from readings; every method raises DatabaseUnavailable."""

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock

    async def recompute(
        self, arithmetic: Arithmetic, *, waited: timedelta, wearers: int = 50, days: int = 400, longest: int = 30
    ) -> Recomputed:
        """Computes anew what is marked since `waited` or longer; nothing when another process is at it.

        Marks go in the same transaction, so that what dies in between is done again.
        """
        before = self._clock.now() - waited

        async def work(connection: AsyncConnection) -> Recomputed:
            if not (await connection.execute(LOCK)).scalar():
                return Recomputed()
            marks = await glucose_marks.due(connection, before, wearers=wearers, days=days)
            if not marks:
                return Recomputed()
            return await self._recompute(connection, arithmetic, marks, longest)

        return await self._transactions.run(work)

    async def _recompute(
        self, connection: AsyncConnection, arithmetic: Arithmetic, marks: Sequence[Mark], longest: int
    ) -> Recomputed:
        now = self._clock.now()
        readings = await glycaemia.readings_of_days(connection, [(mark.wearer, mark.day) for mark in marks])
        sums = {place: arithmetic.sums_of(place[1], found) for place, found in readings.items()}
        await glycaemia.put_days(connection, sums)
        changed: dict[Wearer, list[date]] = {}
        for wearer, day in sums:
            changed.setdefault(wearer, []).append(day)
        back = timedelta(days=longest - 1)
        spans = {wearer: (min(days) - back, max(days) + back) for wearer, days in changed.items()}
        stored = await glycaemia.days_of(connection, spans)
        rows = [
            MetricsRow(wearer, end, size, arithmetic.figures(end, size, stored[wearer]))
            for wearer, days in changed.items()
            for end, size in arithmetic.ends_touched(days, stored[wearer])
        ]
        revised = await glycaemia.revise(connection, rows, now)
        joined = await forecasts.join(connection, marks)
        await glucose_marks.clear(connection, marks, now)
        return Recomputed(len(changed), len(sums), revised, joined)

    async def publish(self, send: Callable[[Sequence[MetricsRow]], Awaitable[None]], limit: int = 200) -> int:
        """Hands revisions that were not announced to `send`, then notes that they were; returns how many.

        A crash in between sends them twice, with the same ids.
        """
        rows = await self._transactions.run(lambda c: glycaemia.unpublished(c, limit))
        if rows:
            await send(rows)
            await self._transactions.run(lambda c: glycaemia.mark_published(c, rows))
        return len(rows)

    async def oldest(self) -> datetime | None:
        """Since when the longest-waiting change of a wearer's readings waits; None where all are computed."""
        return await self._transactions.run(glucose_marks.oldest)

    async def metrics(self, wearer: Wearer, since: date) -> list[MetricsRow]:
        """The windows of a wearer that end on `since` or later, oldest first."""
        return await self._transactions.run(lambda c: glycaemia.of_wearer(c, wearer, since))

    async def readings(self, wearer: Wearer, first: datetime, last: datetime) -> list[PlainReading]:
        """Readings in force of a wearer in [first, last), oldest first."""
        return await self._transactions.run(lambda c: glycaemia.readings_between(c, wearer, first, last))

    async def recent(self, wearers: Sequence[Wearer], since: datetime) -> dict[Wearer, list[PlainReading]]:
        """Readings in force of these wearers since a time, oldest first."""
        return await self._transactions.run(lambda c: glycaemia.recent(c, wearers, since))

    async def own(self, wearers: Sequence[Wearer]) -> dict[Wearer, Own]:
        """What was fitted to those of these wearers to whom something was."""
        return await self._transactions.run(lambda c: wearer_models.own(c, wearers, self._clock.now()))

    async def keep(self, predictions: Sequence[Prediction]) -> None:
        """Stores forecasts that were asked for."""
        if predictions:
            await self._transactions.run(lambda c: forecasts.keep(c, predictions))

    async def predictions(self, wearer: Wearer, limit: int) -> list[Prediction]:
        """The newest forecasts that a wearer asked for, read in that wearer's scope."""
        return await self._transactions.run(lambda c: forecasts.of_wearer(c, wearer, limit))

    async def accuracy(self, *, simulated: bool = False, subject: str | None = None) -> list[Accuracy]:
        """How forecasts compare with what the sensors then reported, by version and horizon."""
        return await self._transactions.run(lambda c: forecasts.accuracy(c, simulated, subject))
