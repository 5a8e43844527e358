"""The object store of pixels and tensors, by content address (claim check); the only room that knows obstore.

What the bytes mean, and when they may be forgotten, is decided elsewhere.
"""

import asyncio
import contextlib
import errno
import os
import re
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from adapters.settings import StoreSettings
from schemas.errors import MissingObject, SettingsError, StoreUnavailable

if TYPE_CHECKING:
    from obstore.store import S3Config

T = TypeVar("T")
Kind = Literal["pixels", "tensors", "quarantine", "weights", "snapshots", "identities"]

_URI = re.compile(r"(pixels|tensors|quarantine|weights|snapshots|identities)/([0-9a-f]{2})/\2[0-9a-f]{62}")
IDENTITIES = "identities/"
THREADS = 8
"""Puts in flight a process: fsyncs of several threads share a commit of the journal. Durable puts of 64 KB on ext4, a
busy machine: 1 thread 190/s, 2 threads 660/s, 8 threads 1,200 to 1,500/s."""

PIECE_BYTES = 1 << 18
"""Written at a time. For 10 MB in one call the kernel takes pages of 2 MB, which a virtual machine's host may have to
provide first: 22 to 30 ms of processor time on ext4, against 2.2 ms in pieces of 64 KB to 1 MB."""


def blob_uri(kind: Kind, sha256: str) -> str:
    """Where content with this SHA-256 (64 lower-case hexadecimal digits) lies: `<kind>/<first two>/<sha256>`."""
    return f"{kind}/{sha256[:2]}/{sha256}"


def identity_uri(uri: str) -> str:
    """Where the sealed identity of a de-identified object lies: under the object's own name."""
    return IDENTITIES + uri.partition("/")[2]


class BlobStore(Protocol):
    """Content-addressed bytes. Every method may raise StoreUnavailable, and nothing else for an outage."""

    async def put(self, uri: str, data: bytes | memoryview, *, durable: bool) -> None:
        """Stores `data`; with `durable` it survives a power cut once this returns. A second put is harmless."""

    async def get(self, uri: str) -> bytes:
        """The bytes at `uri`; raises MissingObject when the store works and does not hold them."""

    async def start(self, uri: str, count: int) -> bytes:
        """The first `count` bytes at `uri`, or all where there are fewer; raises MissingObject as `get` does."""

    async def exists(self, uri: str) -> bool:
        """Whether `uri` is there."""

    async def probe(self) -> None:
        """Writes and reads a small object; raises StoreUnavailable when the store cannot do that now."""

    def free_bytes(self) -> int | None:
        """Room left where the store keeps its data; None where nobody can tell (S3)."""

    async def close(self) -> None:
        """Gives back threads and connections."""


def open_store(url: str, s3: StoreSettings | None = None) -> "ObstoreBlobs":
    """The store at `file:///folder` (made the first time) or at `s3://bucket/prefix`, reached as `s3` says.

    A bucket is never made: one that is missing is an outage. Raises SettingsError for another scheme and
    StoreUnavailable when the folder cannot be made or was there before and is gone: a process that starts while a disk
    is not mounted must not take an empty folder for the store.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        folder = Path(unquote(parts.path))
        made_before = folder.with_name(f".{folder.name}.made")
        if not folder.is_dir() and made_before.exists():
            raise StoreUnavailable("the folder of the object store is gone; bring it back")
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"the folder of the object store cannot be made: {error.strerror}") from error
        with contextlib.suppress(OSError):  # next to a mount point nobody may write; then nothing is remembered
            made_before.touch(mode=0o600)
        return ObstoreBlobs(folder=folder)
    if parts.scheme == "s3":
        return ObstoreBlobs(url=url, s3=s3 or StoreSettings())
    raise SettingsError(f"The object store's URL begins with {parts.scheme!r}; use file:///folder or s3://bucket.")


class ObstoreBlobs:
    """`BlobStore` on obstore: a local folder, or any S3 by its URL. Blocking work runs in a pool of its own.

    On S3 `durable` asks for nothing more: the server has made an object durable, in its own sense, when it answers a
    PUT, and shows it whole or not at all. How many disks that is, is the server's configuration.
    """

    def __init__(self, *, folder: Path | None = None, url: str = "", s3: StoreSettings | None = None) -> None:
        self._folder = folder
        self._store = LocalStore(folder) if folder is not None else _s3_store(url, s3 or StoreSettings())
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="blobs")
        self._known_folders: set[Path] = set()
        self._lock = threading.Lock()

    async def put(self, uri: str, data: bytes | memoryview, *, durable: bool) -> None:
        """See BlobStore.put; in a folder, a file is written under a temporary name and renamed."""
        await self._off_loop(lambda: self._put(_checked(uri), data, durable))

    async def get(self, uri: str) -> bytes:
        """See BlobStore.get."""
        return await self._off_loop(lambda: self._get(_checked(uri)))

    async def start(self, uri: str, count: int) -> bytes:
        """See BlobStore.start."""
        return await self._off_loop(lambda: self._start(_checked(uri), count))

    async def exists(self, uri: str) -> bool:
        """See BlobStore.exists."""
        try:
            await self._off_loop(lambda: self._head(_checked(uri)))
        except MissingObject:
            return False
        return True

    async def probe(self) -> None:
        """See BlobStore.probe; leaves one object of 4 KB a process behind, under `probe/`."""
        await self._off_loop(self._probe)

    def free_bytes(self) -> int | None:
        """See BlobStore.free_bytes; 0 while the folder is away."""
        if self._folder is None:
            return None
        try:
            return shutil.disk_usage(self._folder).free
        except OSError:
            return 0

    async def close(self) -> None:
        """Waits for what runs, then ends the pool."""
        await asyncio.to_thread(self._pool.shutdown)

    async def _off_loop(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: self._translated(work))

    def _translated(self, work: Callable[[], T]) -> T:
        """The one map from foreign errors to ours."""
        try:
            return work()
        except FileNotFoundError as error:
            if self._is_away():
                raise StoreUnavailable("the object store is not there") from error
            raise MissingObject("the object store does not hold this object") from error
        except (BaseError, OSError) as error:
            raise StoreUnavailable(_why(error)) from error

    def _is_away(self) -> bool:
        """Whether "not found" means that the store itself is missing (a folder not mounted, no such bucket)."""
        if self._folder is not None:
            return not self._folder.is_dir()
        try:
            next(iter(obstore.list(self._store, chunk_size=1)), None)
        except (BaseError, OSError):
            return True
        return False

    def _put(self, uri: str, data: bytes | memoryview, durable: bool) -> None:
        if self._folder is None:
            if not self._holds(uri, data):
                obstore.put(self._store, uri, data)
            return
        if not self._folder.is_dir():
            # The folder must not be made anew, on the wrong disk when a mount is gone.
            raise FileNotFoundError(errno.ENOENT, "the folder of the object store is gone")
        if not self._holds(uri, data):
            self._write(self._folder / uri, data)
        if durable:
            self._flush(self._folder / uri)

    def _holds(self, uri: str, data: bytes | memoryview) -> bool:
        """Whether exactly `data` lies at `uri`: after a power cut the name may be there with torn content."""
        try:
            if self._folder is not None:
                return (self._folder / uri).stat().st_size == len(data) and self._get(uri) == data
            if obstore.head(self._store, uri)["size"] != len(data):
                return False
            # On S3 the name is the content's, save of an identity: a corrected name may be as long as the wrong one.
            return not uri.startswith(IDENTITIES) or self._get(uri) == data
        except FileNotFoundError:
            return False

    def _write(self, path: Path, data: bytes | memoryview) -> None:
        """From where the bytes lie, under a name of its own until all is written: obstore copies them first."""
        beside = path.with_name(f"{path.name}#{os.urandom(6).hex()}")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileNotFoundError:
            for folder in (path.parent.parent, path.parent):  # never the store's own
                folder.mkdir(exist_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with memoryview(data) as view:
                written = 0
                while written < len(view):
                    written += os.write(descriptor, view[written : written + PIECE_BYTES])
            beside.rename(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)

    def _flush(self, path: Path) -> None:
        """fsyncs the file, its folder, and once a process the folders above, up to the store's."""
        _fsync(path)
        _fsync(path.parent)
        with self._lock:
            new = path.parent not in self._known_folders
        if new and self._folder is not None:
            _fsync(path.parent.parent)
            _fsync(self._folder)
            with self._lock:
                self._known_folders.add(path.parent)

    def _get(self, uri: str) -> bytes:
        if self._folder is not None:
            # 2.4 MB cost 0.7 ms of processor time; through obstore, which reads in pieces and joins them, 7 ms.
            return (self._folder / uri).read_bytes()
        return bytes(obstore.get(self._store, uri).bytes())

    def _start(self, uri: str, count: int) -> bytes:
        size = obstore.head(self._store, uri)["size"]
        return bytes(obstore.get_range(self._store, uri, start=0, end=min(size, count))) if size else b""

    def _head(self, uri: str) -> None:
        obstore.head(self._store, uri)

    def _probe(self) -> None:
        if self._is_away():
            raise StoreUnavailable("the object store is not there")
        name = f"probe/{os.getpid()}"
        obstore.put(self._store, name, bytes(4096))
        self._get(name)


def _s3_store(url: str, s3: StoreSettings) -> S3Store:
    """A client that gives up within `timeout_s`, so that a lane parks instead of hanging (obstore: 180 s)."""
    limit = timedelta(seconds=s3.timeout_s)
    config: S3Config = {"region": s3.region}
    if s3.endpoint:
        config["endpoint"] = s3.endpoint
    if s3.access_key_id and s3.secret_access_key:
        config["access_key_id"] = s3.access_key_id
        config["secret_access_key"] = s3.secret_access_key.get_secret_value()
    return S3Store.from_url(
        url,
        config=config,
        client_options={
            "timeout": limit,
            "connect_timeout": min(limit, timedelta(seconds=2)),
            "allow_http": bool(s3.endpoint and s3.endpoint.startswith("http://")),
        },
        retry_config={"max_retries": 3, "retry_timeout": limit},
    )


def _checked(uri: str) -> str:
    if not _URI.fullmatch(uri):
        raise MissingObject("this is not the name of an object in the store")
    return uri


def _why(error: Exception) -> str:
    """One plain sentence; obstore's own text quotes paths and requests and stays in the cause."""
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    # obstore hands no error number over for a failed local write: its text is all there is.
    if full or "os error 28" in str(error) or "os error 122" in str(error):
        return "the object store has no room left"
    return f"the object store does not answer as it should ({type(error).__name__})"


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
