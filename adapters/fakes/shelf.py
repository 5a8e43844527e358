"""A shelf in memory, sitting the same exam as `adapters.database.shelf.Shelf`; `down` takes it away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from adapters.clock import Clock
from adapters.database.shelf import ENTRIES, FOREVER, Document, NewDocument, Put, Uploaded, in_ms
from schemas.errors import DatabaseUnavailable
from schemas.events import GlucoseObserved


@dataclass(slots=True)
class _Kept:
    at: datetime
    document: Document


class FakeShelf:
    """Readings appear when a test lets them be recorded (`record`), as behind the glucose step."""

    def __init__(self, clock: Clock) -> None:
        self.down = False
        self.rows: dict[str, list[Uploaded]] = {}
        self.kept: dict[tuple[str, str], dict[str, _Kept]] = {}
        self._clock = clock

    def record(self, *events: GlucoseObserved) -> None:
        """What the glucose step does with readings, as far as a reader sees it."""
        for event in events:
            rows = self.rows.setdefault(event.subject_id, [])
            here = [row for row in rows if row.time_ms == in_ms(event.measured_at)]
            if event.simulated or any(row.content == event.content for row in here):
                continue
            rows.append(
                Uploaded(
                    event.event_id,
                    event.content,
                    len(here) + 1,
                    event.measured_at,
                    event.raw_value,
                    event.raw_unit,
                    event.glucose_mg_dl,
                    event.clipped,
                    event.trend,
                    event.device,
                    event.observed_at,
                    self._clock.now(),
                    event.deleted,
                )
            )

    async def readings(
        self, subject: str, *, since: datetime | None = None, until: datetime | None = None, limit: int
    ) -> list[Uploaded]:
        """See Shelves.readings."""
        first, last = since or FOREVER[0], until or FOREVER[1]
        found = [row for row in self._in_force(subject) if not row.deleted and first <= row.measured_at <= last]
        return sorted(found, key=lambda row: row.measured_at, reverse=True)[:limit]

    async def readings_after(self, subject: str, ms: int, limit: int) -> list[Uploaded]:
        """See Shelves.readings_after."""
        found = [row for row in self._in_force(subject) if in_ms(row.recorded_at) > ms]
        found.sort(key=lambda row: row.recorded_at)
        last = in_ms(found[limit - 1].recorded_at) if len(found) > limit else None
        return [row for row in found if last is None or in_ms(row.recorded_at) <= last]

    async def contents_at(self, subject: str, times_ms: Sequence[int]) -> list[Uploaded]:
        """See Shelves.contents_at."""
        found = [row for row in self._all(subject) if row.time_ms in set(times_ms)]
        return sorted(found, key=lambda row: (row.measured_at, row.revision))

    async def put(self, subject: str, collection: str, documents: Sequence[NewDocument]) -> list[Put]:
        """See Shelves.put."""
        kept = self._collection(subject, collection)
        done: dict[str, Put] = {}
        for each in {each.identifier: each for each in documents}.values():
            before, following = kept.get(each.identifier), self._next(subject, collection)
            if before is not None and before.document.body == each.body:
                number = before.document.modified_ms
                done[each.identifier] = Put(each.identifier, created=False, changed=False, modified_ms=number)
                continue
            created = before.document.created_ms if before else following
            document = Document(each.identifier, dict(each.body), created, following, deleted=False)
            kept[each.identifier] = _Kept(each.at, document)
            done[each.identifier] = Put(each.identifier, before is None, before is not None, following)
        return [done[each.identifier] for each in documents]

    async def change(
        self, subject: str, collection: str, identifier: str, changes: Mapping[str, Any], *, deleted: bool = False
    ) -> Document | None:
        """See Shelves.change."""
        found = self._collection(subject, collection).get(identifier)
        if found is None or found.document.deleted:
            return None
        body, following = {**found.document.body, **changes}, self._next(subject, collection)
        found.document = replace(found.document, body=body, modified_ms=following, deleted=deleted)
        return found.document

    async def document(self, subject: str, collection: str, identifier: str) -> Document | None:
        """See Shelves.document."""
        found = self._collection(subject, collection).get(identifier)
        return found.document if found else None

    async def documents(
        self,
        subject: str,
        collection: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int,
    ) -> list[Document]:
        """See Shelves.documents."""
        first, last = since or FOREVER[0], until or FOREVER[1]
        found = [
            each
            for each in self._collection(subject, collection).values()
            if not each.document.deleted and first <= each.at <= last
        ]
        found.sort(key=lambda each: each.document.identifier)
        found.sort(key=lambda each: each.at, reverse=True)
        return [each.document for each in found[:limit]]

    async def documents_after(self, subject: str, collection: str, ms: int, limit: int) -> list[Document]:
        """See Shelves.documents_after."""
        found = [each.document for each in self._collection(subject, collection).values()]
        found = [document for document in found if document.modified_ms > ms]
        return sorted(found, key=lambda document: document.modified_ms)[:limit]

    async def last_modified(self, subject: str) -> dict[str, int]:
        """See Shelves.last_modified."""
        rows = self._all(subject)
        found = {ENTRIES: max(in_ms(row.recorded_at) for row in rows)} if rows else {}
        for (owner, collection), kept in self.kept.items():
            if owner == subject and kept:
                found[collection] = max(each.document.modified_ms for each in kept.values())
        return found

    def _all(self, subject: str) -> list[Uploaded]:
        if self.down:
            raise DatabaseUnavailable("PostgreSQL cannot be used right now (taken away)")
        return self.rows.get(subject, [])

    def _in_force(self, subject: str) -> list[Uploaded]:
        latest: dict[int, Uploaded] = {}
        for row in self._all(subject):
            if row.time_ms not in latest or latest[row.time_ms].revision < row.revision:
                latest[row.time_ms] = row
        return list(latest.values())

    def _collection(self, subject: str, collection: str) -> dict[str, _Kept]:
        self._all(subject)
        return self.kept.setdefault((subject, collection), {})

    def _next(self, subject: str, collection: str) -> int:
        numbers = [each.document.modified_ms for each in self._collection(subject, collection).values()]
        return max(in_ms(self._clock.now()), 1 + max(numbers, default=0))
