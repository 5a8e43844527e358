"""An object store in memory that sits the same exam as the real one; it can be taken away and filled up."""

from schemas.errors import MissingObject, StoreUnavailable


class FakeBlobs:
    """`BlobStore` in a dict. `down = True`: nothing works; `room` bytes left, None: endless. `durable` notes what a
    caller asked to be flushed."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.durable: set[str] = set()
        self.down = False
        self.room: int | None = None

    async def put(self, uri: str, data: bytes | memoryview, *, durable: bool) -> None:
        """See BlobStore.put."""
        self._check()
        if self.objects.get(uri) != data:
            if self.room is not None:
                if len(data) > self.room:
                    raise StoreUnavailable("the object store has no room left")
                self.room -= len(data)
            self.objects[uri] = bytes(data)
        if durable:
            self.durable.add(uri)

    async def get(self, uri: str) -> bytes:
        """See BlobStore.get."""
        self._check()
        try:
            return self.objects[uri]
        except KeyError:
            raise MissingObject("the object store does not hold this object") from None

    async def start(self, uri: str, count: int) -> bytes:
        """See BlobStore.start."""
        return (await self.get(uri))[:count]

    async def exists(self, uri: str) -> bool:
        """See BlobStore.exists."""
        self._check()
        return uri in self.objects

    async def probe(self) -> None:
        """See BlobStore.probe."""
        self._check()
        if self.room is not None and self.room < 4096:
            raise StoreUnavailable("the object store has no room left")

    def free_bytes(self) -> int | None:
        """See BlobStore.free_bytes."""
        return 0 if self.down else self.room

    async def close(self) -> None:
        """Keeps what it holds, for a test to look at."""

    def _check(self) -> None:
        if self.down:
            raise StoreUnavailable("the object store is not there")
