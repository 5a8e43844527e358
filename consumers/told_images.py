"""Stored images as a destination may know them: with the identity that they came with, or without any."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from adapters import deidentification, sealing
from adapters.database.study_reports import View
from adapters.dicom_header import index
from adapters.pixels import BlobStore, identity_uri
from adapters.settings import Destination
from schemas import ids

T = TypeVar("T")

START_BYTES = 65_536
"""Most headers end within these."""


def edition(to: Destination) -> str:
    """What tells a telling without names from the one with names: their objects have UIDs of their own."""
    return ids.EDITIONS[to.deidentify != "no"]


class ToldImages:
    """Raises MissingObject where an identity that was taken off is not there: a report that names nobody is no
    substitute for one that names the patient. Raises Unprocessable for an image that cannot be read any more."""

    def __init__(self, store: BlobStore, threads: Executor, key: bytes) -> None:
        self._store, self._threads, self._key = store, threads, key

    async def whole(self, view: View, to: Destination) -> bytes:
        """The file of an image."""
        return await self._named(await self._store.get(view.blob_uri), view, to, whole=True)

    async def beginning(self, view: View, to: Destination) -> bytes:
        """As much of an image as its header takes, hardly ever all of it."""
        start = await self._store.start(view.blob_uri, START_BYTES)
        found = await self._store.get(view.blob_uri) if index(start, whole=False) is None else start
        return await self._named(found, view, to, whole=False)

    async def _named(self, data: bytes, view: View, to: Destination, *, whole: bool) -> bytes:
        if to.deidentify != "no":
            return await self._in_thread(lambda: deidentification.of_file(data, self._key, to.deidentify, whole=whole))
        if not await self._in_thread(lambda: deidentification.is_pseudonymous(data, self._key)):
            return data
        place = identity_uri(view.blob_uri)
        sealed = await self._store.get(place)
        return await self._in_thread(
            lambda: deidentification.given_back(data, sealing.unseal(self._key, place, sealed), whole=whole)
        )

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)
