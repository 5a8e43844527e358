"""Storage commitment as part of a DICOM door's process: opened where it is switched on, nothing where it is not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from adapters.clock import Clock
from adapters.pixels import BlobStore
from adapters.settings import Settings
from producers.dicom_journal import Journals
from producers.dicom_services import DicomService

if TYPE_CHECKING:
    from adapters.database.archive import Archive
    from adapters.database.commitments import Commitment

FIRST_TRY = timedelta(seconds=1)
"""A sender that waits on its association has heard the answer to its request by then."""


@dataclass(slots=True)
class Committing:
    """What `dicom_door` takes as its other services; reports are sent from then on."""

    archive: "Archive"
    store: BlobStore
    clock: Clock
    settings: Settings
    reporting: "asyncio.Task[None] | None" = None

    def services(self, journals: Journals) -> list[DicomService]:
        """The service of this door; called once, on the event loop."""
        from producers.commitment_reports import CommitmentReports
        from producers.dicom_commitment import CommitmentService

        doors = self.settings.doors
        service: CommitmentService = CommitmentService(
            self._ask,
            addresses(doors.commitment_peers),
            doors.dicom_ae_title,
            self.clock,
            asyncio.get_running_loop(),
            journals,
        )
        retention = timedelta(days=doors.retention_days or 0)
        reports = CommitmentReports(self.archive, self.store, service, self.clock, retention)
        self.reporting = asyncio.ensure_future(reports.run())
        return [service]

    async def _ask(self, asked: "Commitment") -> None:
        await self.archive.ask_commitment(asked, asked.asked_at + FIRST_TRY)


@contextlib.asynccontextmanager
async def committing(settings: Settings, store: BlobStore, clock: Clock) -> AsyncIterator[Committing | None]:
    """None where nothing is promised. Only a door that promises pays for the database's client (55 MB)."""
    if not settings.doors.storage_commitment:
        yield None
        return
    from adapters.database import Database

    database = Database.open(settings, clock)
    found = Committing(database.archive, store, clock, settings)
    try:
        yield found
    finally:
        if found.reporting is not None:
            found.reporting.cancel()
            await asyncio.gather(found.reporting, return_exceptions=True)
        await database.close()


def addresses(peers: dict[str, str]) -> dict[str, tuple[str, int]]:
    """Host and port by AE title."""
    places = {title: place.rpartition(":") for title, place in peers.items()}
    return {title: (host, int(port)) for title, (host, _, port) in places.items()}
