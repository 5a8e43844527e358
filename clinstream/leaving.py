"""What leaves for PACS and FHIR servers, as the command line asks: is the receiver there, what waits, once more."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from adapters.clock import SystemClock
from adapters.database import Database, Export, ExportState
from adapters.receivers import open_receiver
from adapters.settings import Destination, Settings
from schemas.errors import ReceiverAway, ReceiverRefused, UserError

T = TypeVar("T")
NONE = (
    "No destination is configured; set CLINSTREAM_EXPORT_DESTINATIONS, for example to "
    '{"pacs": {"host": "127.0.0.1", "port": 4242, "ae_title": "ORTHANC"}}, and run `clinstream up` again.'
)


def chosen(settings: Settings, names: list[str]) -> dict[str, Destination]:
    """The destinations of these names, all of them for none; raises UserError for one that is unknown."""
    known = settings.exports.destinations
    if not known:
        raise UserError(NONE)
    if unknown := sorted(set(names) - set(known)):
        raise UserError(f"There is no destination {', '.join(unknown)}; there are {', '.join(sorted(known))}.")
    return {name: known[name] for name in names or sorted(known)}


def probe(destination: Destination) -> str:
    """Why a destination does not answer; empty when it does."""
    try:
        open_receiver(destination).probe()
    except (ReceiverAway, ReceiverRefused) as error:
        return str(error)
    return ""


def exports(settings: Settings, *, state: ExportState | None, result: UUID | None, limit: int) -> list[Export]:
    """The newest sendings."""
    return _with_database(settings, lambda database: database.exports(state=state, result=result, limit=limit))


def resend(settings: Settings, id: UUID, *, destination: str | None, by: str, why: str) -> list[UUID]:
    """Has sendings made once more, however old; raises UserError where there are none of that id."""
    within = timedelta(hours=settings.exports.deliver_within_h)
    found = _with_database(
        settings,
        lambda database: database.resend_exports(id, destination=destination, within=within, by_whom=by, why=why),
    )
    if not found:
        raise UserError(f"Nothing was ever to be sent of {id}; `clinstream export show` lists what was.")
    return found


def facts(row: Export) -> dict[str, Any]:
    """A sending as JSON shows it."""
    return {
        "export_id": str(row.export_id),
        "result_id": str(row.result_id),
        "model": row.task,
        "action": row.action,
        "destination": row.destination,
        "state": row.state,
        "reason": row.reason,
        "attempts": row.attempts,
        "filed_at": row.filed_at.isoformat(),
        "until": row.until.isoformat(),
        "ended_at": row.ended_at.isoformat() if row.ended_at else None,
        "sent": list(row.sent),
    }


def _with_database(settings: Settings, work: Callable[[Database], Awaitable[T]]) -> T:
    async def run() -> T:
        database = Database.open(settings, SystemClock())
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())
