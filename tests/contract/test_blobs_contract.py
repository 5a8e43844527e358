"""The exam that every object store sits, the fake as well as the real one on a folder."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.fakes.blobs import FakeBlobs
from adapters.pixels import BlobStore, blob_uri, open_store
from schemas import ids
from schemas.errors import MissingObject

CONTENT = b"\x00\x01 pixels"
URI = blob_uri("pixels", ids.sha256_hex(CONTENT))


@pytest.fixture(params=["folder", "fake"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    """A store without objects."""
    found: BlobStore = open_store((tmp_path / "store").as_uri()) if request.param == "folder" else FakeBlobs()
    yield found
    await found.close()


def test_an_object_lies_under_its_kind_and_the_first_two_digits_of_its_hash() -> None:
    assert blob_uri("tensors", "ab" + "0" * 62) == "tensors/ab/ab" + "0" * 62


@pytest.mark.parametrize("durable", [True, False])
async def test_what_was_put_is_what_one_gets(store: BlobStore, durable: bool) -> None:
    await store.put(URI, CONTENT, durable=durable)
    assert await store.get(URI) == CONTENT
    assert await store.exists(URI)


async def test_a_second_put_of_the_same_content_is_harmless(store: BlobStore) -> None:
    for _ in range(2):
        await store.put(URI, CONTENT, durable=True)
    assert await store.get(URI) == CONTENT


async def test_an_object_that_was_never_put_is_missing_and_not_an_outage(store: BlobStore) -> None:
    assert not await store.exists(URI)
    with pytest.raises(MissingObject):
        await store.get(URI)


async def test_many_puts_at_once_all_arrive(store: BlobStore) -> None:
    contents = [bytes([number]) * 5000 for number in range(64)]
    uris = [blob_uri("tensors", ids.sha256_hex(content)) for content in contents]
    await asyncio.gather(*(store.put(uri, c, durable=True) for uri, c in zip(uris, contents, strict=True)))
    assert [await store.get(uri) for uri in uris] == contents


async def test_the_same_content_put_at_once_by_many_arrives_whole(store: BlobStore) -> None:
    content = b"x" * 300_000
    uri = blob_uri("pixels", ids.sha256_hex(content))
    await asyncio.gather(*(store.put(uri, content, durable=True) for _ in range(16)))
    assert await store.get(uri) == content


async def test_a_working_store_passes_its_probe_and_knows_its_room(store: BlobStore) -> None:
    await store.probe()
    free = store.free_bytes()
    assert free is None or free > 0
