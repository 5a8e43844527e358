"""Forms with a file in them, read within a limit; which fields a form has is for each route to say."""

from collections.abc import AsyncIterator

from fastapi import Request
from starlette.datastructures import FormData
from starlette.formparsers import MultiPartException, MultiPartParser

from producers.replies import Early, body

FORM = "multipart/form-data"


async def form(request: Request, *, limit: int, fields: int) -> FormData:
    """The form, for the caller to close; ends the request where it is too large, broken or has more than one file."""
    data = await body(request, limit)

    async def whole() -> AsyncIterator[bytes]:
        yield data

    try:
        return await MultiPartParser(request.headers, whole(), max_files=1, max_fields=fields).parse()  # type: ignore[arg-type]
    except (MultiPartException, KeyError) as broken:
        raise Early(400, "the form cannot be read, or holds more than one file") from broken
