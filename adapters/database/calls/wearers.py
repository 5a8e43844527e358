"""Readings of wearers, their windows, and the credentials of those who upload them."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.database import readings, wearers
from adapters.database.calls.base import Calls
from adapters.database.records import Recorded, StoredReading, Taking, Wearer, Window
from adapters.wearers import Credential


class Wearers(Calls):
    """Readings of wearers, their windows, and the credentials of those who upload them."""

    async def windows(self, asked: Sequence[Wearer]) -> dict[Wearer, Window]:
        """The windows of these wearers as they stand; an empty one without stamp where nothing is stored."""
        if not asked:
            return {}
        return await self._transactions.run(lambda c: readings.windows(c, asked, self._clock.now()))

    async def readings_at(self, places: Sequence[tuple[Wearer, int]]) -> list[StoredReading]:
        """Every stored content of these (wearer, sensor time in milliseconds)."""
        if not places:
            return []
        return await self._transactions.run(lambda c: readings.at(c, places))

    async def take(self, taking: Taking) -> list[Recorded]:
        """Stores readings with their answers and outcomes; one `Recorded` an answer, in order.

        Raises WindowsMoved, with nothing written, when a stamp is not the present one of its wearer.
        """
        hopeful = readings.is_new(taking)

        async def work(connection: AsyncConnection) -> list[Recorded]:
            nonlocal hopeful
            take, hopeful = (readings.take_new if hopeful else readings.take), False
            return await take(connection, taking, self._clock.now())

        return await self._transactions.run(work)

    async def credentials(self, *, revoked: bool = False) -> list[Credential]:
        """The credentials of uploaders, oldest first; with `revoked` also those that open nothing any more."""
        return await self._transactions.run(lambda c: wearers.every(c, revoked=revoked))

    async def add_credential(self, credential: Credential, *, by_whom: str) -> None:
        """Stores a new credential, audited."""
        await self._transactions.run(lambda c: wearers.add(c, credential, by_whom=by_whom))

    async def set_zone(self, subject: str, zone: str, *, by_whom: str) -> int:
        """Notes the zone of a wearer's clock, audited; how many credentials the wearer has."""
        return await self._transactions.run(lambda c: wearers.set_zone(c, subject, zone, by_whom=by_whom))

    async def revoke_credentials(self, ids: Sequence[UUID], *, by_whom: str) -> list[UUID]:
        """Revokes these credentials, audited; those that were not revoked before."""
        now = self._clock.now()
        return await self._transactions.run(lambda c: wearers.revoke(c, ids, by_whom=by_whom, now=now))
