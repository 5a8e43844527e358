"""Operations of Nightscout's interface v3 on readings: what changes them is an event, what is read was recorded."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request, Response

from adapters.database.shelf import Uploaded, in_ms
from adapters.wearers import Credential
from producers import cgm, finding, uploaded
from producers.glucose_routes import decoded
from producers.nightscout_v1 import ENTRY_TIMES, MOST, readings
from producers.replies import Early, body, reply
from producers.site import Site, known
from producers.v3_shape import MOST_AT_ONCE, RESERVED, Page, created, cursor, dated, document, fields, history, one
from schemas.errors import RejectedInput

NAME = "entries"


class Entries:
    """Operations on readings: what changes them is an event, what is read was recorded."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def search(self, request: Request, wearer: Credential, _: str) -> Response:
        """GET of the collection."""
        conditions = finding.v3(request.query_params.multi_items(), RESERVED)
        only = [each for each in conditions if each.field != "isValid"]
        page = Page(request)
        plain = all(each.field in ENTRY_TIMES for each in only) and page.newest_first
        most = page.skip + page.limit if plain else MOST
        found = await readings(self._site, wearer.subject_id, only, min(most, MOST))
        return page.answer([uploaded.document(row) for row in found])

    async def history(self, request: Request, wearer: Credential, _: str) -> Response:
        """What was recorded since, deletions too."""
        since, page = cursor(request), Page(request, MOST_AT_ONCE)
        await self._site.settled(wearer.subject_id)
        rows = await self._site.kept(self._site.shelf.readings_after(wearer.subject_id, since, page.limit))
        return history([uploaded.document(row) for row in rows], since, page)

    async def create(self, request: Request, wearer: Credential, _: str) -> Response:
        """POST of one reading."""
        return await self._said(await document(request), wearer)

    async def read(self, request: Request, wearer: Credential, _: str) -> Response:
        """GET of one reading."""
        row = await self._row(request, wearer)
        return one(uploaded.document(row), request)

    async def update(self, request: Request, wearer: Credential, _: str) -> Response:
        """PUT: the document's own time names the reading, which must be the one of the path."""
        item = await document(request)
        row = await self._row(request, wearer, or_nothing=True)
        time_ms = uploaded.time_of(request.path_params["identifier"])
        if row is None and time_ms is None:
            raise Early(404, "no such document; entries are named sgv- and their time in milliseconds")
        return await self._said({**item, "date": time_ms, "type": "sgv"}, wearer, row, replaced=True)

    async def patch(self, request: Request, wearer: Credential, _: str) -> Response:
        """PATCH: fields that are left out stay as they are."""
        changes = fields(decoded(await body(request)))
        row = await self._row(request, wearer)
        fixed = {**uploaded.document(row), **changes, "date": row.time_ms, "type": "sgv"}
        return await self._said(fixed, wearer, row, replaced=True)

    async def delete(self, request: Request, wearer: Credential, _: str) -> Response:
        """DELETE: a revision that takes the reading back."""
        row = await self._row(request, wearer)
        made = cgm.taken_back(row, wearer.subject_id, self._site.clock.now(), "nightscout")
        await self._site.put(wearer.subject_id, [made])
        return reply(200, {"status": 200})

    async def _row(self, request: Request, wearer: Credential, *, or_nothing: bool = False) -> Any:
        time_ms = uploaded.time_of(request.path_params["identifier"])
        rows = [] if time_ms is None else await self._site.at(wearer.subject_id, time_ms)
        if rows and rows[-1].deleted:
            raise Early(410, "the document was deleted")
        if not rows and not or_nothing:
            raise Early(404, "no such document")
        return rows[-1] if rows else None

    async def _said(
        self, item: Mapping[str, Any], wearer: Credential, row: Uploaded | None = None, *, replaced: bool = False
    ) -> Response:
        site, now = self._site, self._site.clock.now()
        try:
            reading = cgm.entry(item if isinstance(item.get("date"), (int, float)) else dated(item))
            if isinstance(reading, cgm.NotTaken):
                raise Early(422, "only entries of the type sgv are kept")
            time_ms = in_ms(reading.measured_at)
            rows = await site.at(wearer.subject_id, time_ms)
            event, message = cgm.observed(
                reading, wearer.subject_id, now, "nightscout", rows if replaced and row else ()
            )
        except RejectedInput as refused:
            raise Early(422, str(refused)) from refused
        name, there = uploaded.identifier(time_ms), known(site, wearer.subject_id, rows, event.event_id)
        if rows and rows[-1].deleted and any(each.content == event.content for each in rows):
            raise Early(410, "the document was deleted")
        if not there:
            await site.put(wearer.subject_id, [(event, message)])
        if replaced:
            return reply(200 if rows else 201, {"status": 200 if rows else 201, "identifier": name})
        return created(NAME, name, in_ms(now), again=bool(rows) or there)
