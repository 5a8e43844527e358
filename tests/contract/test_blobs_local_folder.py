"""What only a real folder can show: flushing, power cuts, a mount that goes away, a full disk (S1, delivery rule 1)."""

import contextlib
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from adapters import pixels
from adapters.pixels import ObstoreBlobs, blob_uri, open_store
from schemas import ids
from schemas.errors import MissingObject, SettingsError, StoreUnavailable

CONTENT = b"a radiograph" * 1000
URI = blob_uri("pixels", ids.sha256_hex(CONTENT))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ObstoreBlobs]:
    """A store in a folder with a blank in its name."""
    found = open_store((tmp_path / "the store").as_uri())
    yield found
    await found.close()


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths that were flushed, in order."""
    paths: list[Path] = []
    real = pixels._fsync

    def note(path: Path) -> None:
        paths.append(path)
        real(path)

    monkeypatch.setattr(pixels, "_fsync", note)
    return paths


async def test_a_durable_put_flushes_the_file_then_its_folder(
    store: ObstoreBlobs, tmp_path: Path, flushed: list[Path]
) -> None:
    await store.put(URI, CONTENT, durable=True)
    file = tmp_path / "the store" / URI
    assert flushed[:2] == [file, file.parent]
    assert set(flushed[2:]) == {file.parent.parent, tmp_path / "the store"}


async def test_a_put_that_need_not_be_durable_flushes_nothing(store: ObstoreBlobs, flushed: list[Path]) -> None:
    await store.put(URI, CONTENT, durable=False)
    assert flushed == []


async def test_an_object_that_was_put_without_flushing_is_flushed_by_a_later_durable_put(
    store: ObstoreBlobs, flushed: list[Path]
) -> None:
    await store.put(URI, CONTENT, durable=False)
    await store.put(URI, CONTENT, durable=True)
    assert flushed


@pytest.mark.parametrize("torn", [b"", CONTENT[:-1], b"\0" * len(CONTENT)])
async def test_a_put_repairs_content_that_a_power_cut_tore(store: ObstoreBlobs, tmp_path: Path, torn: bytes) -> None:
    await store.put(URI, CONTENT, durable=True)
    (tmp_path / "the store" / URI).write_bytes(torn)
    await store.put(URI, CONTENT, durable=True)
    assert await store.get(URI) == CONTENT


async def test_an_interrupted_put_never_shows_under_the_object_name(store: ObstoreBlobs, tmp_path: Path) -> None:
    await store.put(URI, CONTENT, durable=True)
    assert [path.name for path in (tmp_path / "the store" / URI).parent.iterdir()] == [URI.rpartition("/")[2]]


async def test_a_store_whose_folder_is_gone_is_an_outage_and_not_a_missing_object(
    store: ObstoreBlobs, tmp_path: Path
) -> None:
    await store.put(URI, CONTENT, durable=True)
    (tmp_path / "the store").rename(tmp_path / "unmounted")
    for attempt in (store.get(URI), store.put(URI, CONTENT, durable=True), store.probe(), store.exists(URI)):
        with pytest.raises(StoreUnavailable):
            await attempt
    assert store.free_bytes() == 0
    assert not (tmp_path / "the store").exists(), "a put must not make the folder anew on another disk"
    (tmp_path / "unmounted").rename(tmp_path / "the store")
    assert await store.get(URI) == CONTENT


@pytest.mark.parametrize(
    "name", ["../outside", "pixels/../../etc/passwd", "pixels/ab/cd" + "0" * 62, "", "/etc/passwd"]
)
async def test_a_name_that_is_no_content_address_never_reaches_the_disk(store: ObstoreBlobs, name: str) -> None:
    with pytest.raises(MissingObject):
        await store.get(name)
    with pytest.raises(MissingObject):
        await store.put(name, b"x", durable=True)


def test_a_folder_that_was_there_before_and_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    url = (tmp_path / "store").as_uri()
    open_store(url)
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable, match="bring it back"):
        open_store(url)
    assert not (tmp_path / "store").exists()
    (tmp_path / "elsewhere").rename(tmp_path / "store")
    open_store(url)


def test_a_store_of_an_unknown_kind_is_named_in_a_sentence() -> None:
    with pytest.raises(SettingsError, match="ftp"):
        open_store("ftp://somewhere/else")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


async def test_a_full_disk_is_an_outage_that_ends_when_room_is_made(small_disk: Path) -> None:
    """The error says "no room" without paths, nothing half-written stays, and the same put works afterwards."""
    store = open_store(small_disk.as_uri())
    filler = small_disk / "filler"
    filler.write_bytes(bytes(240 << 10))
    content = os.urandom(100_000)
    uri = blob_uri("pixels", ids.sha256_hex(content))
    with pytest.raises(StoreUnavailable, match="no room left") as caught:
        await store.put(uri, content, durable=True)
    assert str(small_disk) not in str(caught.value)
    assert not await store.exists(uri)
    _fill(filler)
    with pytest.raises(StoreUnavailable):
        await store.probe()
    filler.unlink()
    await store.probe()
    await store.put(uri, content, durable=True)
    assert await store.get(uri) == content
    await store.close()


def _fill(file: Path) -> None:
    """Writes until there is no room."""
    with file.open("ab", buffering=0) as growing, contextlib.suppress(OSError):
        while True:
            growing.write(bytes(1024))
