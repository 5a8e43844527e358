"""Operations of Nightscout's interface v3 on documents, which are kept as they came; readings are elsewhere."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from adapters.database.shelf import Document, NewDocument
from adapters.wearers import Credential
from producers import documents, finding
from producers.glucose_routes import decoded
from producers.nightscout_v1 import MARGIN, MOST_DOCUMENTS
from producers.replies import Early, body, reply
from producers.site import Site
from producers.v3_shape import (
    MOST_AT_ONCE,
    RESERVED,
    Page,
    created,
    cursor,
    document,
    fields,
    history,
    one,
    require_unmodified,
)
from schemas.errors import RejectedInput

OWN = frozenset(("identifier", "srvModified", "srvCreated", "isValid", "_id"))


class Kept:
    """Operations on documents, which are kept as they came."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def search(self, request: Request, wearer: Credential, collection: str) -> Response:
        """GET of the collection."""
        conditions = finding.v3(request.query_params.multi_items(), RESERVED)
        page = Page(request)
        since, until = finding.span(conditions, frozenset(documents.TIMES), MARGIN)
        plain = not conditions and page.newest_first
        most = min(page.skip + page.limit, MOST_DOCUMENTS) if plain else MOST_DOCUMENTS
        rows = await self._site.kept(
            self._site.shelf.documents(wearer.subject_id, collection, since=since, until=until, limit=most)
        )
        found = [documents.v3(row) for row in rows]
        return page.answer([each for each in found if all(condition.holds(each) for condition in conditions)])

    async def history(self, request: Request, wearer: Credential, collection: str) -> Response:
        """What changed since, deletions too."""
        since, page = cursor(request), Page(request, MOST_AT_ONCE)
        rows = await self._site.kept(self._site.shelf.documents_after(wearer.subject_id, collection, since, page.limit))
        return history([documents.v3(row) for row in rows], since, page)

    async def create(self, request: Request, wearer: Credential, collection: str) -> Response:
        """POST of one document."""
        item = await document(request)
        new = self._new(collection, item)
        (put,) = await self._site.kept(self._site.shelf.put(wearer.subject_id, collection, [new]))
        return created(collection, put.identifier, put.modified_ms, again=not put.created)

    async def read(self, request: Request, wearer: Credential, collection: str) -> Response:
        """GET of one document."""
        row = await self._row(request, wearer, collection)
        return one(documents.v3(row), request)

    async def update(self, request: Request, wearer: Credential, collection: str) -> Response:
        """PUT: the whole document."""
        item = await document(request)
        name = request.path_params["identifier"]
        new = self._new(collection, {**item, "identifier": name})
        before = await self._site.kept(self._site.shelf.document(wearer.subject_id, collection, name))
        if before is not None and before.deleted:
            raise Early(410, "the document was deleted")
        require_unmodified(request, before.modified_ms if before else 0)
        (put,) = await self._site.kept(self._site.shelf.put(wearer.subject_id, collection, [new]))
        status = 201 if put.created else 200
        return reply(status, {"status": status, "identifier": name, "lastModified": put.modified_ms})

    async def patch(self, request: Request, wearer: Credential, collection: str) -> Response:
        """PATCH: fields that are left out stay as they are."""
        changes = {name: value for name, value in fields(decoded(await body(request))).items() if name not in OWN}
        row = await self._row(request, wearer, collection)
        require_unmodified(request, row.modified_ms)
        self._new(collection, {**row.body, **changes})
        await self._site.kept(self._site.shelf.change(wearer.subject_id, collection, row.identifier, changes))
        return reply(200, {"status": 200})

    async def delete(self, request: Request, wearer: Credential, collection: str) -> Response:
        """DELETE: followers are told."""
        row = await self._row(request, wearer, collection)
        require_unmodified(request, row.modified_ms)
        change = self._site.shelf.change(wearer.subject_id, collection, row.identifier, {}, deleted=True)
        await self._site.kept(change)
        return reply(200, {"status": 200})

    def _new(self, collection: str, item: Mapping[str, Any]) -> NewDocument:
        try:
            return documents.new_v3(collection, item, self._site.clock.now())
        except RejectedInput as refused:
            raise Early(400, str(refused)) from refused

    async def _row(self, request: Request, wearer: Credential, collection: str) -> Document:
        name = request.path_params["identifier"]
        row = await self._site.kept(self._site.shelf.document(wearer.subject_id, collection, name))
        if row is None:
            raise Early(404, "no such document")
        if row.deleted:
            raise Early(410, "the document was deleted")
        return row
