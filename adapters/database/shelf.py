"""What uploaders get back of one wearer: readings as they came, and documents; every call is in that wearer's scope.

Readings are written by the glucose step alone; here they are only read. Nothing is computed from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from adapters.clock import Clock
from adapters.database.engine import Transactions

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ENTRIES = "entries"
COLLECTIONS = ("devicestatus", "treatments", "profile", "food", "activity", "settings", "fhir")


@dataclass(frozen=True, slots=True)
class Uploaded:
    """One content of a sensor time as its uploader sent it; of a deletion the value that it took back.

    `recorded_at` orders what a wearer's followers have not seen yet.
    """

    event_id: UUID
    content: str
    revision: int
    measured_at: datetime
    raw_value: float
    raw_unit: str
    glucose_mg_dl: float
    clipped: str
    trend: str
    device: str
    observed_at: datetime
    recorded_at: datetime
    deleted: bool

    @property
    def time_ms(self) -> int:
        """The sensor time in milliseconds since the epoch."""
        return in_ms(self.measured_at)


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document as an uploader sent it; `at` is the time that it speaks of."""

    identifier: str
    at: datetime
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it is kept; `modified_ms` is above that of every change of its collection before."""

    identifier: str
    body: dict[str, Any]
    created_ms: int
    modified_ms: int
    deleted: bool


@dataclass(frozen=True, slots=True)
class Put:
    """What a post of a document came to; neither created nor changed: it was there already."""

    identifier: str
    created: bool
    changed: bool
    modified_ms: int


class Shelves(Protocol):
    """What the doors read and keep of one wearer, named by `subject`; all raise DatabaseUnavailable."""

    async def readings(
        self, subject: str, *, since: datetime | None = None, until: datetime | None = None, limit: int
    ) -> list[Uploaded]:
        """Readings in force, newest sensor time first; both ends belong to it."""
        ...

    async def readings_after(self, subject: str, ms: int, limit: int) -> list[Uploaded]:
        """What was recorded after a moment and is in force, deletions too, in the order of recording.

        More than `limit` where the last of them share their millisecond, so that a cursor of milliseconds misses none.
        """
        ...

    async def contents_at(self, subject: str, times_ms: Sequence[int]) -> list[Uploaded]:
        """Every content of these sensor times, the lowest revision first."""
        ...

    async def put(self, subject: str, collection: str, documents: Sequence[NewDocument]) -> list[Put]:
        """Keeps documents by identifier, one `Put` each; a repeat changes nothing, also of one that was deleted."""
        ...

    async def change(
        self, subject: str, collection: str, identifier: str, changes: Mapping[str, Any], *, deleted: bool = False
    ) -> Document | None:
        """Sets fields of a document, or marks it deleted; None when there is none that is not deleted."""
        ...

    async def document(self, subject: str, collection: str, identifier: str) -> Document | None:
        """One document, also a deleted one."""
        ...

    async def documents(
        self,
        subject: str,
        collection: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int,
    ) -> list[Document]:
        """Documents that are not deleted, the newest first by the time that they speak of."""
        ...

    async def documents_after(self, subject: str, collection: str, ms: int, limit: int) -> list[Document]:
        """What changed after a moment, deletions too, in the order of the changes."""
        ...

    async def last_modified(self, subject: str) -> dict[str, int]:
        """When each collection last changed, in milliseconds; those that hold nothing are left out."""
        ...


SCOPE = text("SELECT set_config('clinstream.wearer', :subject, true)")

READING = (
    "r.event_id, r.content, r.revision, r.measured_at, r.raw_value, r.raw_unit, r.glucose_mg_dl, r.clipped, r.trend, "
    "r.device, r.observed_at, r.recorded_at, r.deleted"
)
IN_FORCE = (
    "NOT EXISTS (SELECT 1 FROM readings h WHERE h.subject_id = r.subject_id AND NOT h.simulated "
    "AND h.measured_at = r.measured_at AND h.revision > r.revision)"
)
# shelf-readings, shelf-readings-after, shelf-contents-at
READINGS = text(
    f"SELECT {READING} FROM readings r WHERE r.subject_id = :subject AND NOT r.simulated AND NOT r.deleted "
    f"AND r.measured_at BETWEEN :since AND :until AND {IN_FORCE} ORDER BY r.measured_at DESC LIMIT :most"
)
READINGS_AFTER = text(
    f"SELECT {READING} FROM readings r WHERE r.subject_id = :subject AND NOT r.simulated AND r.recorded_at >= :after "
    f"AND {IN_FORCE} ORDER BY date_trunc('milliseconds', r.recorded_at) FETCH FIRST :most ROWS WITH TIES"
)
CONTENTS_AT = text(
    f"SELECT {READING} FROM readings r WHERE r.subject_id = :subject AND NOT r.simulated "
    "AND r.measured_at = ANY(CAST(:times AS timestamptz[])) ORDER BY r.measured_at, r.revision"
)
CHANGED_AT = text("SELECT changed_at FROM glucose_windows WHERE subject_id = :subject AND NOT simulated")

DOCUMENT = "identifier, body::text, created_ms, modified_ms, deleted"
OF = "subject_id = :subject AND collection = :collection"
# Changes of one collection of a wearer take turns, so that a later commit has a higher number.
TURN = text("SELECT pg_advisory_xact_lock(hashtextextended(:subject || '/' || :collection, 0))")
NEXT = text(f"SELECT greatest(:now, 1 + coalesce(max(modified_ms), 0)) FROM documents WHERE {OF}")
PUT = text(
    "INSERT INTO documents AS d (subject_id, collection, identifier, at, body, created_ms, modified_ms) "
    "SELECT :subject, :collection, identifier, at, body, :next + place - 1, :next + place - 1 "
    "FROM unnest(CAST(:identifiers AS text[]), CAST(:at AS timestamptz[]), CAST(CAST(:bodies AS text[]) AS jsonb[])) "
    "WITH ORDINALITY AS asked(identifier, at, body, place) "
    "ON CONFLICT (subject_id, collection, identifier) DO UPDATE "
    "SET at = excluded.at, body = excluded.body, modified_ms = excluded.modified_ms, deleted = false "
    "WHERE d.body <> excluded.body RETURNING identifier, created_ms = modified_ms, modified_ms"
)
CHANGE = text(
    "UPDATE documents SET body = body || CAST(:changes AS jsonb), modified_ms = :next, deleted = :deleted "
    f"WHERE {OF} AND identifier = :identifier AND NOT deleted RETURNING {DOCUMENT}"
)
# documents-by-id, documents-newest, documents-after, documents-modified
ONE = text(f"SELECT {DOCUMENT} FROM documents WHERE {OF} AND identifier = :identifier")
DOCUMENTS = text(
    f"SELECT {DOCUMENT} FROM documents WHERE {OF} AND NOT deleted AND at BETWEEN :since AND :until "
    "ORDER BY at DESC, identifier LIMIT :most"
)
DOCUMENTS_AFTER = text(
    f"SELECT {DOCUMENT} FROM documents WHERE {OF} AND modified_ms > :after ORDER BY modified_ms LIMIT :most"
)
MODIFIED = text(f"SELECT max(modified_ms) FROM documents WHERE {OF}")

FOREVER = (datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))


class Shelf:
    """Shelves in PostgreSQL; each call is one transaction that sees one wearer."""

    def __init__(self, transactions: Transactions, clock: Clock) -> None:
        self._transactions = transactions
        self._clock = clock

    async def readings(
        self, subject: str, *, since: datetime | None = None, until: datetime | None = None, limit: int
    ) -> list[Uploaded]:
        """See Shelves.readings."""
        return [Uploaded(*row) for row in await self._rows(READINGS, subject, **_span(since, until), most=limit)]

    async def readings_after(self, subject: str, ms: int, limit: int) -> list[Uploaded]:
        """See Shelves.readings_after."""
        after = EPOCH + timedelta(milliseconds=ms + 1)

        async def work(connection: AsyncConnection) -> Sequence[Any]:
            await connection.execute(SCOPE, {"subject": subject})
            changed = (await connection.execute(CHANGED_AT, {"subject": subject})).scalar()
            # The stamp is set before the readings of its transaction are: a change may be a little older than they.
            if changed is None or changed < after - timedelta(minutes=1):
                return ()
            values = {"subject": subject, "after": after, "most": limit}
            return (await connection.execute(READINGS_AFTER, values)).all()

        return [Uploaded(*row) for row in await self._transactions.run(work)]

    async def contents_at(self, subject: str, times_ms: Sequence[int]) -> list[Uploaded]:
        """See Shelves.contents_at."""
        times = [EPOCH + timedelta(milliseconds=time) for time in times_ms]
        return [Uploaded(*row) for row in await self._rows(CONTENTS_AT, subject, times=times)] if times else []

    async def put(self, subject: str, collection: str, documents: Sequence[NewDocument]) -> list[Put]:
        """See Shelves.put."""
        latest = {each.identifier: each for each in documents}

        async def work(connection: AsyncConnection) -> dict[str, Put]:
            following = await self._turn(connection, subject, collection)
            values = {
                "subject": subject,
                "collection": collection,
                "identifiers": list(latest),
                "at": [each.at for each in latest.values()],
                "bodies": [msgspec.json.encode(each.body).decode() for each in latest.values()],
                "next": following,
            }
            rows = await connection.execute(PUT, values)
            done = {row[0]: Put(row[0], row[1], not row[1], row[2]) for row in rows}
            for identifier in latest.keys() - done.keys():
                kept = {"subject": subject, "collection": collection, "identifier": identifier}
                (row,) = await connection.execute(ONE, kept)
                done[identifier] = Put(identifier, created=False, changed=False, modified_ms=row.modified_ms)
            return done

        done = await self._transactions.run(work) if latest else {}
        return [done[each.identifier] for each in documents]

    async def change(
        self, subject: str, collection: str, identifier: str, changes: Mapping[str, Any], *, deleted: bool = False
    ) -> Document | None:
        """See Shelves.change."""

        async def work(connection: AsyncConnection) -> Document | None:
            values = {
                "subject": subject,
                "collection": collection,
                "identifier": identifier,
                "changes": msgspec.json.encode(changes).decode(),
                "deleted": deleted,
                "next": await self._turn(connection, subject, collection),
            }
            row = (await connection.execute(CHANGE, values)).one_or_none()
            return None if row is None else _document(row)

        return await self._transactions.run(work)

    async def document(self, subject: str, collection: str, identifier: str) -> Document | None:
        """See Shelves.document."""
        rows = await self._rows(ONE, subject, collection=collection, identifier=identifier)
        return _document(rows[0]) if rows else None

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
        span = _span(since, until)
        return [
            _document(row) for row in await self._rows(DOCUMENTS, subject, collection=collection, **span, most=limit)
        ]

    async def documents_after(self, subject: str, collection: str, ms: int, limit: int) -> list[Document]:
        """See Shelves.documents_after."""
        rows = await self._rows(DOCUMENTS_AFTER, subject, collection=collection, after=ms, most=limit)
        return [_document(row) for row in rows]

    async def last_modified(self, subject: str) -> dict[str, int]:
        """See Shelves.last_modified."""

        async def work(connection: AsyncConnection) -> dict[str, int]:
            await connection.execute(SCOPE, {"subject": subject})
            changed = (await connection.execute(CHANGED_AT, {"subject": subject})).scalar()
            found = {} if changed is None else {ENTRIES: in_ms(changed)}
            for collection in COLLECTIONS:
                values = {"subject": subject, "collection": collection}
                modified = (await connection.execute(MODIFIED, values)).scalar()
                if modified is not None:
                    found[collection] = modified
            return found

        return await self._transactions.run(work)

    async def _turn(self, connection: AsyncConnection, subject: str, collection: str) -> int:
        """Takes the turn of a collection; the number of its next change."""
        place = {"subject": subject, "collection": collection}
        await connection.execute(SCOPE, {"subject": subject})
        await connection.execute(TURN, place)
        return int((await connection.execute(NEXT, {**place, "now": in_ms(self._clock.now())})).scalar_one())

    async def _rows(self, statement: Any, subject: str, **values: Any) -> Sequence[Any]:
        async def work(connection: AsyncConnection) -> Sequence[Any]:
            await connection.execute(SCOPE, {"subject": subject})
            return (await connection.execute(statement, {"subject": subject, **values})).all()

        return await self._transactions.run(work)


def in_ms(moment: datetime) -> int:
    """Whole milliseconds since the epoch."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def _span(since: datetime | None, until: datetime | None) -> dict[str, datetime]:
    return {"since": since or FOREVER[0], "until": until or FOREVER[1]}


def _document(row: Any) -> Document:
    return Document(row[0], msgspec.json.decode(row[1]), row[2], row[3], row[4])
