"""Which version serves whom: the release log, trained versions and orders to move them."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import identities, outbox, releases, versions
from adapters.database.calls.base import Calls
from adapters.database.records import Order, Release, State, Version
from schemas.card import ModelCard


class Releases(Calls):
    """Which version serves whom: the release log, trained versions and orders to move them."""

    async def releases(self, since: int = 0) -> list[Release]:
        """The release log after epoch `since`, oldest first; no lower epoch appears later."""
        return await self._transactions.run(lambda c: releases.since(c, since))

    async def ensure_starters(self, cards: Iterable[ModelCard], why: Mapping[str, str] | None = None) -> None:
        """Promotes the version of each card whose task has no decision yet; safe to repeat and race. `why` by task."""
        kept, said = list(cards), dict(why or {})
        await self._transactions.run(lambda c: releases.ensure_starters(c, kept, self._clock.now(), said))

    async def set_release(
        self, task: str, version: str, state: State, *, share: float = 0.0, by_whom: str, why: str
    ) -> Release:
        """Writes a release decision, its audit line and its announcement (to the outbox) in one transaction.

        A promotion retires the version promoted before.
        Raises UserError for a share that cannot be served.
        """

        async def work(connection: AsyncConnection) -> Release:
            details: dict[str, object] = {"task": task, "version": version, "state": state, "share": share}
            await identities.audit(connection, by_whom=by_whom, purpose=why, action="release.set", details=details)
            now = self._clock.now()
            made = await releases.add(
                connection, task=task, version=version, state=state, share=share, by_whom=by_whom, why=why, now=now
            )
            await outbox.enqueue(connection, *releases.announcement(made))
            return made

        return await self._transactions.run(work)

    async def versions(self) -> list[Version]:
        """All trained versions, a task's in the order of their registration."""
        return await self._transactions.run(versions.every)

    async def add_version(self, version: Version, *, by_whom: str, why: str) -> bool:
        """Registers a version that a person brings, with its audit line; False when it is there already."""

        async def work(connection: AsyncConnection) -> bool:
            if not await versions.add(connection, version):
                return False
            details: dict[str, object] = {"task": version.task, "version": version.version}
            await identities.audit(connection, by_whom=by_whom, purpose=why, action="version.add", details=details)
            rows: list[tuple[str, State, float]] = [(version.version, "REGISTERED", 0.0)]
            await releases.move(connection, rows, task=version.task, by_whom=by_whom, why=why, now=self._clock.now())
            return True

        return await self._transactions.run(work)

    async def approve_version(self, task: str, version: str, *, by_whom: str, why: str) -> bool:
        """Notes a person's approval, with its audit line; False when it is unknown or was approved before."""

        async def work(connection: AsyncConnection) -> bool:
            details: dict[str, object] = {"task": task, "version": version}
            if not await versions.approve(connection, task, version, by_whom, self._clock.now()):
                return False
            await identities.audit(connection, by_whom=by_whom, purpose=why, action="version.approve", details=details)
            return True

        return await self._transactions.run(work)

    async def move_versions(
        self, task: str, rows: Sequence[tuple[str, State, float]], *, by_whom: str, why: str
    ) -> list[Release]:
        """Writes the rows of one move, its audit line and the announcements in one transaction."""

        async def work(connection: AsyncConnection) -> list[Release]:
            details: dict[str, object] = {"task": task, "rows": [list(row) for row in rows]}
            await identities.audit(connection, by_whom=by_whom, purpose=why, action="release.move", details=details)
            now = self._clock.now()
            made = await releases.move(connection, rows, task=task, by_whom=by_whom, why=why, now=now)
            for each in made:
                await outbox.enqueue(connection, *releases.announcement(each))
            return made

        return await self._transactions.run(work)

    async def order(self, wanted: Order) -> Order:
        """Files an order for the release manager and returns it with its number."""
        return await self._transactions.run(lambda c: versions.order(c, wanted, self._clock.now()))

    async def open_orders(self) -> list[Order]:
        """The orders that wait, in the order of their filing."""
        return await self._transactions.run(versions.open_orders)

    async def order_by_id(self, number: int) -> Order | None:
        """One order."""
        return await self._transactions.run(lambda c: versions.order_by_id(c, number))

    async def end_order(self, number: int, refused: str = "") -> None:
        """Marks an order as done, or as refused for a reason."""
        await self._transactions.run(lambda c: versions.end_order(c, number, refused, self._clock.now()))
