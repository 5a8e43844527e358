"""Whose images came in, looked up under audit, and what happened at the doors."""

from collections.abc import Sequence
from datetime import timedelta

from adapters.database import door_journal, identities
from adapters.database.calls.base import Calls
from adapters.database.door_journal import DoorEntry, DoorFilter
from adapters.database.records import ImageIdentity


class Doors(Calls):
    """Whose images came in, looked up under audit, and what happened at the doors."""

    async def note_images(self, rows: Sequence[ImageIdentity]) -> None:
        """Stores where images lie and whose they are; what is there already stays as it is."""
        await self._transactions.run(lambda c: identities.note(c, rows))

    async def look_up(self, number: str, *, by_whom: str, purpose: str) -> tuple[set[str], set[str]]:
        """(study ids, subject ids) of an accession number, Study Instance UID or patient id; the read is audited."""
        return await self._transactions.run(lambda c: identities.look_up(c, number, by_whom=by_whom, purpose=purpose))

    async def note_opening(self, details: dict[str, object], *, by_whom: str, purpose: str) -> None:
        """Notes in the audit that a person opens what a door put aside; `details` name the letter and no person."""
        await self._transactions.run(
            lambda c: identities.audit(c, by_whom=by_whom, purpose=purpose, action="quarantine.open", details=details)
        )

    async def note_associations(self, entries: Sequence[DoorEntry]) -> None:
        """Stores what happened at a door; a repeat changes nothing."""
        if entries:
            await self._transactions.run(lambda c: door_journal.add(c, entries))

    async def associations(self, wanted: DoorFilter) -> list[DoorEntry]:
        """What happened at the doors, newest first."""
        return await self._transactions.run(lambda c: door_journal.entries(c, wanted))

    async def prune_journal(self, age: timedelta) -> int:
        """Deletes some of the journal's entries older than that, the oldest first; how many (0: none is left)."""
        return await self._transactions.run(lambda c: door_journal.prune(c, self._clock.now() - age))
