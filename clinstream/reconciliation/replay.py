"""Reads the log into a rebuild: results, then answers, outcomes, images and readings; nothing is published."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import triton_models
from adapters import dicom_reading, pixels, stored_image
from adapters import settings as configuration
from adapters.clock import Clock, SystemClock
from adapters.database import ImageIdentity, Rules, rebuilding
from adapters.database.rebuilding import Counts, Rebuild
from adapters.pixels import BlobStore
from adapters.settings import Settings
from adapters.windows import RedisWindows
from clinstream.reconciliation import log, positions
from clinstream.reconciliation.log import LogRecord
from consumers.identity import identity_of
from schemas import envelope, topics
from schemas.card import ModelCard
from schemas.errors import MissingObject, RejectedInput, UserError
from schemas.events import (
    Answer,
    Base,
    GlucoseObserved,
    ImageObserved,
    OutcomeDecided,
    ResultAmended,
    ResultAssessed,
    ResultPublished,
    ResultWithdrawn,
)

T = TypeVar("T", bound=Base)
R = TypeVar("R")
CHUNK = 1000

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """The projections before and after; `remade` had been dropped, `unread` counts records of no known kind."""

    before: Counts
    after: Counts
    remade: tuple[str, ...]
    unread: int


class Replay:
    """One rebuild. The dead-letter topics are not needed: whatever is put aside is announced on `outcomes` too."""

    def __init__(self, settings: Settings, clock: Clock, cards: Sequence[ModelCard], tell: Tell) -> None:
        self._settings = settings
        self._rules = {card.name: Rules(tuple(card.labels), card.retrain_after) for card in cards}
        self._clock = clock
        self._results = [topics.results_topic(task, simulated=made) for task in self._rules for made in (False, True)]
        self._tell = tell
        self._unread = 0

    async def run(self, *, keep_unlogged: bool, store: BlobStore | None) -> Rebuilt:
        """Does it all in one transaction; with `store` also reads the identities from the stored images again.

        Raises DatabaseUnavailable or BrokerUnavailable, and then nothing has changed.
        """
        async with rebuilding.rebuild(self._settings, self._clock) as work:
            await self._results_into(work)
            if keep_unlogged:
                await work.keep_unlogged()
            self._tell("answers")
            for answers in chunks(self._events([topics.ANSWERS], Answer)):
                await work.add_answers(answers)
            self._tell("outcomes")
            for outcomes in chunks(self._events([topics.OUTCOMES], OutcomeDecided)):
                await work.add_outcomes(outcomes)
            self._tell("images")
            for images in chunks(self._events(topics.OBSERVED_IMAGES, ImageObserved)):
                await work.add_images([identity_of(event) for event in images])
                if store is not None:
                    found = [await _identity(store, event) for event in images]
                    await work.add_identities([identity for identity in found if identity is not None])
            self._tell("readings")
            for readings in chunks(self._readings()):
                await work.add_readings([event for event, _ in readings], [logged for _, logged in readings])
            self._tell("assessments")
            said = list(self._events([topics.OVERRIDES], ResultAssessed))
            await work.add_assessments(said, self._rules)
            after = await work.finish(keep_unlogged=keep_unlogged)
            return Rebuilt(work.before, after, work.missing, self._unread)

    def _readings(self) -> Iterator[tuple[GlucoseObserved, tuple[datetime, int]]]:
        """Readings with what orders them: a partition's own order first, between partitions the time of arrival."""
        latest: dict[tuple[str, int], datetime] = {}
        for record in log.read(self._settings.kafka, topics.OBSERVED_GLUCOSE.values()):
            event = self._read(record, (GlucoseObserved,))
            if isinstance(event, GlucoseObserved):
                place = record.topic, record.partition
                latest[place] = max(latest.get(place, event.observed_at), event.observed_at)
                yield event, (latest[place], record.offset)

    async def _results_into(self, work: Rebuild) -> None:
        self._tell("results")
        changes: list[tuple[datetime, ResultWithdrawn | ResultAmended]] = []

        def published() -> Iterator[ResultPublished]:
            for record in log.read(self._settings.kafka, self._results):
                match self._read(record, topics.RESULT_EVENTS):
                    case ResultPublished() as result:
                        yield result
                    case ResultWithdrawn() | ResultAmended() as change:
                        changes.append((datetime.fromisoformat(record.text("ce_time")), change))

        for results in chunks(published()):
            await work.add_results(results)
        for at, change in sorted(changes, key=lambda dated: dated[0]):
            await work.change(change, at)

    def _events(self, names: Sequence[str], kind: type[T]) -> Iterator[T]:
        for record in log.read(self._settings.kafka, names):
            event = self._read(record, (kind,))
            if isinstance(event, kind):
                yield event

    def _read(self, record: LogRecord, kinds: tuple[type[Base], ...]) -> Base | None:
        """The event, or None for what the steps could not read either: it lies in the dead letters."""
        try:
            return envelope.read_any(record.headers.items(), record.value, kinds)[1]
        except RejectedInput:
            self._unread += 1
            return None


def rebuild(*, keep_unlogged: bool, identities: bool, tell: Tell) -> Rebuilt:
    """Rebuilds the projections of the chosen installation; `tell` is called with each stage.

    Raises UserError when the log alone is to count while consumers run; BrokerUnavailable, DatabaseUnavailable.
    """
    settings = configuration.load()
    if not keep_unlogged and (busy := positions.active_groups(settings)):
        raise UserError(
            f"Consumers are running ({', '.join(busy)}): what they committed and have not published yet would be "
            "dropped. Stop them first (`clinstream down`, then `clinstream up --only-parts`), or leave out --only-log."
        )
    return asyncio.run(_rebuild(settings, keep_unlogged=keep_unlogged, identities=identities, tell=tell))


async def _rebuild(settings: Settings, *, keep_unlogged: bool, identities: bool, tell: Tell) -> Rebuilt:
    clock = SystemClock()
    replay = Replay(settings, clock, [model.card for model in triton_models.discover().values()], tell)
    store = pixels.open_store(settings.store_url, settings.store) if identities else None
    windows = RedisWindows(settings.redis_url, clock)
    try:
        rebuilt = await replay.run(keep_unlogged=keep_unlogged, store=store)
        # Their stamps are of the past, so this only spares the lanes finding that out.
        await windows.clear()
        return rebuilt
    finally:
        await windows.close()
        if store is not None:
            await store.close()


def chunks(items: Iterable[R], size: int = CHUNK) -> Iterator[list[R]]:
    """The items in lists of at most `size`."""
    chunk: list[R] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


async def _identity(store: BlobStore, event: ImageObserved) -> ImageIdentity | None:
    if event.blob.media_type != stored_image.DICOM:
        return None
    try:
        return identity_of(event, dicom_reading.open_dicom(await store.get(event.blob.uri)).dataset)
    except (MissingObject, RejectedInput):
        return None
