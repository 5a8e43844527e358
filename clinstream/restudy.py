"""The ledger of studies and the index of stored objects made again from the log, by the step that made them."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from adapters import pixels
from adapters.clock import SystemClock
from adapters.database import Database
from adapters.database.studies import Arrived
from adapters.settings import Settings, pseudonym_key
from clinstream.reconciliation import log
from clinstream.reconciliation.replay import chunks
from consumers.pipelines import quiet_of
from consumers.studies import Studies
from schemas import envelope, topics
from schemas.errors import RejectedInput
from schemas.events import ImageObserved

CHUNK = 200


def restudy(settings: Settings, tell: Callable[[int], None]) -> int:
    """Notes every object of the log that is not there yet; returns how many were read. What is there stays as it is.

    Raises BrokerUnavailable, DatabaseUnavailable, StoreUnavailable.
    """
    return asyncio.run(again(settings, tell))


async def again(settings: Settings, tell: Callable[[int], None], *, absent_only: bool = False) -> int:
    """As `restudy`; with `absent_only` only those that the ledger lacks are opened and counted.

    What only the index of headers or the rejections lack is not found then.
    """
    database, store = Database.open(settings, SystemClock()), pixels.open_store(settings.store_url, settings.store)
    read = 0
    try:
        with ThreadPoolExecutor(1) as decoders:
            key, quiet = pseudonym_key(settings), quiet_of(settings)
            step = Studies(store=store, archive=database.archive, decoders=decoders, quiet=quiet, key=key)
            for records in chunks(log.read(settings.kafka, [topics.OBSERVED_DICOM]), CHUNK):
                events = [event for record in records if (event := _event(record)) and not event.simulated]
                if absent_only:
                    there = await database.archive.noted([_arrived(event) for event in events])
                    events = [event for event in events if event.event_id not in there]
                if events:
                    await step.note(events)
                read += len(events) if absent_only else len(records)
                tell(read)
    finally:
        await store.close()
        await database.close()
    return read


def _event(record: log.LogRecord) -> ImageObserved | None:
    try:
        event = envelope.read_any(record.headers.items(), record.value, (ImageObserved,))[1]
    except RejectedInput:
        return None
    return event if isinstance(event, ImageObserved) else None


def _arrived(event: ImageObserved) -> Arrived:
    return Arrived(event.study_id, event.sender, event.object_id, event.event_id, event.observed_at)
