"""A door's process: what it opens in order and closes in reverse, its readiness, and how it ends on a signal."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adapters import bootstrap, http_server, telemetry
from adapters.bootstrap import Services
from adapters.clock import Clock
from adapters.settings import Settings, pseudonym_key
from adapters.stopping import stop_on_signals
from producers.door import Door, Limits
from schemas.errors import Conflict, SettingsError, Unavailable

if TYPE_CHECKING:
    from producers.committing import Committing

log = telemetry.logger("door")

NEEDS = {
    "door-dicom": ("store", "publisher"),
    "door-http": ("store", "publisher", "wearers"),
    "door-folder": ("store", "publisher"),
}
DRAIN_S = 8.0
"""Seconds that associations at work are given to end; then they are aborted, and their senders connect anew."""

LATE_S = 2.0
"""Seconds for sends whose senders were told "try again": nobody counts on them any more."""

JOURNAL_S = 1.0
"""Seconds for what the journal has not written yet."""

RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What every door is made of; `opened` are its servers."""

    settings: Settings
    opened: Services
    door: Door
    key: bytes
    clock: Clock


async def run(name: str, settings: Settings, index: int) -> None:
    """Runs the door of this name until SIGTERM or SIGINT; answers what is under way before it ends."""
    stop = stop_on_signals()
    endpoint = _metrics(settings.metrics_port(name, index), settings.metrics_host)
    try:
        async with _parts(name, settings, stop) as parts:
            if parts is not None:
                await DOORS[name](parts, stop)
    finally:
        telemetry.metrics().ready.set(0)
        endpoint.close()


async def _dicom(parts: Parts, stop: asyncio.Event) -> None:
    from producers.committing import committing

    async with committing(parts.settings, parts.opened.store, parts.clock) as promised:
        await _listen(parts, stop, promised)


async def _listen(parts: Parts, stop: asyncio.Event, promised: "Committing | None") -> None:
    # Imported here, so that each process carries only its own protocol: pynetdicom is 60 MB, FastAPI 20 MB.
    from adapters.routing_file import routing_table
    from producers.dicom import dicom_door
    from producers.dicom_settings import listening_of

    listening = listening_of(parts.settings.doors)
    table = routing_table(parts.settings.home, parts.settings.doors.routing)
    loop = asyncio.get_running_loop()
    others = promised.services if promised else lambda journals: []
    async with _journal(parts, "door-dicom") as note:
        scp = dicom_door(parts.door, parts.key, parts.clock, listening, loop, table, note, others)
        try:
            scp.start()
        except OSError as error:
            raise Conflict(f"The DICOM port {listening.port} cannot be had ({error.strerror}).") from error
        try:
            log.info("the DICOM door is open", host=listening.host, port=scp.port, ae_title=listening.ae_title)
            telemetry.metrics().ready.set(1)
            # As the consumers' processes: what is loaded by now stays, and need not be looked at again.
            gc.collect()
            gc.freeze()
            gc.set_threshold(20_000, 20, 20)
            await stop.wait()
        finally:
            telemetry.metrics().ready.set(0)
            await asyncio.to_thread(scp.stop, DRAIN_S)


@contextlib.asynccontextmanager
async def _journal(parts: Parts, door: str) -> AsyncIterator[Callable[[Any], None]]:
    """What notes an association's entry; it is written by a task that nobody waits for."""
    from producers.journal import JournalTable, JournalWriter

    table = JournalTable(parts.settings, parts.clock, door)
    writer = JournalWriter(table, parts.clock)
    writing = asyncio.ensure_future(writer.run())
    try:
        yield writer.note
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await writer.close(JOURNAL_S)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(table.close(), JOURNAL_S)


async def _http(parts: Parts, stop: asyncio.Event) -> None:
    from adapters.routing_file import routing_table
    from producers import http
    from producers.dicomweb_access import Access
    from producers.wearer_routes import Wearers

    doors = parts.settings.doors
    access = Access(doors.dicomweb_token.get_secret_value(), doors.retrieval)
    stored = http.Stored(parts.opened.database.archive, parts.opened.store)
    wearers = Wearers(parts.opened.wearers, parts.opened.database.shelf, doors.client_requests_per_s)
    table = routing_table(parts.settings.home, doors.routing)
    app = http.build(parts.door, parts.key, parts.clock, wearers, access=access, stored=stored, table=table)
    server = http_server.server(app, doors.http_host, doors.http_port)
    serving = asyncio.ensure_future(server.serve())
    stopping = asyncio.ensure_future(stop.wait())
    log.info("the HTTP door opens", host=doors.http_host, port=doors.http_port)
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving
    stopping.cancel()


async def _folder(parts: Parts, stop: asyncio.Event) -> None:
    from producers.folder import Folder

    root = parts.settings.doors.folder
    if root is None:
        raise SettingsError("No folder is watched: set CLINSTREAM_DOOR_FOLDER.")
    folder = Folder(root, parts.door, parts.key, parts.clock)
    try:
        folder.prepare()
    except OSError as error:
        raise Conflict(f"The watched folder cannot be used ({error.strerror}).") from error
    log.info("the folder door is open")
    telemetry.metrics().ready.set(1)
    await folder.watch(stop)


DOORS: dict[str, Callable[[Parts, asyncio.Event], Awaitable[None]]] = {
    "door-dicom": _dicom,
    "door-http": _http,
    "door-folder": _folder,
}


@contextlib.asynccontextmanager
async def _parts(name: str, settings: Settings, stop: asyncio.Event) -> AsyncIterator[Parts | None]:
    """The opened parts, or None when the process was told to stop while a server was still away."""
    key = pseudonym_key(settings)
    limits = Limits(settings.doors.ack_deadline_s, settings.doors.disk_watermark_bytes)
    async with contextlib.AsyncExitStack() as stack:
        opened = await _opened(name, settings, stop, stack)
        if opened is None:
            yield None
            return
        door = Door(opened.publisher, opened.store, opened.clock, limits)
        yield Parts(settings, opened, door, key, opened.clock)
        await door.drain(LATE_S)


async def _opened(
    name: str, settings: Settings, stop: asyncio.Event, stack: contextlib.AsyncExitStack
) -> Services | None:
    """Store and publisher, however long they take to appear; a door that is not open refuses by itself."""
    while not stop.is_set():
        try:
            opened = await stack.enter_async_context(bootstrap.services(settings, NEEDS[name]))
            await opened.store.probe()
            return opened
        except Unavailable as error:
            await stack.aclose()
            log.warning("a door waits", reason=str(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), RETRY_S)
    return None


def _metrics(port: int, host: str) -> telemetry.MetricsServer:
    try:
        return telemetry.serve_metrics(port, host=host)
    except OSError as error:
        raise Conflict(f"The metrics port {port} is in use; is this process running already?") from error
