"""The exam that every object store sits: the fake as well as the real one, on a folder and on an S3 server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from adapters.fakes.blobs import FakeBlobs
from adapters.pixels import BlobStore, blob_uri, identity_uri, open_store
from schemas import ids
from schemas.errors import MissingObject, StoreUnavailable
from tests.support import s3_server
from tests.support.s3_server import S3Server

CONTENT = b"\x00\x01 pixels"
URI = blob_uri("pixels", ids.sha256_hex(CONTENT))


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    """One S3 server for this file; each test has a bucket of its own."""
    with s3_server.serving() as server:
        yield server


def new_bucket(server: S3Server, folder: Path) -> str:
    """URL of a bucket that no other test uses."""
    return server.make_bucket("b" + ids.sha256_hex(str(folder).encode())[:20])


@pytest.fixture(params=["folder", "fake", "s3"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[BlobStore]:
    """A store without objects."""
    found: BlobStore
    if request.param == "fake":
        found = FakeBlobs()
    elif request.param == "folder":
        found = open_store((tmp_path / "store").as_uri())
    else:
        server = request.getfixturevalue("s3")
        found = open_store(new_bucket(server, tmp_path), server.settings)
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


async def test_an_identity_is_replaced_by_another_of_the_same_length(store: BlobStore) -> None:
    """A name is corrected: it lies under the name of the object that it belongs to, not under its own."""
    place = identity_uri(URI)
    for content in (b"Doe^Jane", b"Roe^Jane", b"Roe^Jane"):
        await store.put(place, content, durable=True)
        assert await store.get(place) == content


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


async def test_a_bucket_that_does_not_exist_is_an_outage_not_a_missing_object(s3: S3Server) -> None:
    """Rule 9: a store that is away must park the lane, never put its events aside."""
    store = open_store("s3://nobody-made-this", s3.settings)
    for attempt in (store.probe(), store.get(URI), store.put(URI, CONTENT, durable=True), store.exists(URI)):
        with pytest.raises(StoreUnavailable):
            await attempt
    await store.close()


async def test_an_s3_server_that_is_away_is_an_outage_within_its_timeout_and_works_again(tmp_path: Path) -> None:
    """Rule 9: the same client goes on when the server is back."""
    with s3_server.serving() as server:
        url = new_bucket(server, tmp_path)
        store = open_store(url, server.settings)
        await store.put(URI, CONTENT, durable=True)
        server.stop()
        async with asyncio.timeout(30):
            for attempt in (store.probe(), store.get(URI), store.put(URI, CONTENT, durable=True)):
                with pytest.raises(StoreUnavailable):
                    await attempt
        server.start()
        new_bucket(server, tmp_path)
        await store.put(URI, CONTENT, durable=True)
        assert await store.get(URI) == CONTENT
        await store.close()


async def test_a_store_on_s3_cannot_tell_its_room(s3: S3Server) -> None:
    """The disk watermark is the S3 server's own matter: the doors do not refuse for it."""
    store = open_store("s3://any", s3.settings)
    assert store.free_bytes() is None
    await store.close()
