"""Bodies of `multipart/related` (RFC 2387), read part by part as they arrive; what the parts mean is not known here."""

from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from email.message import Message

MAX_HEADER_BYTES = 16_384


class Broken(Exception):
    """The body is no well-formed multipart body."""


class PartTooLarge(Exception):
    """One part has more bytes than are taken."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its media type without parameters, in lower case, and its bytes."""

    media_type: str
    content: bytes = field(repr=False)


def parameters(content_type: str) -> tuple[str, dict[str, str]]:
    """The media type in lower case and its parameters, by names in lower case."""
    parsed = Message()
    parsed["content-type"] = content_type
    found = {name.lower(): value for name, value in (parsed.get_params() or [])[1:]}
    return parsed.get_content_type() if "/" in content_type else "", found


async def parts(stream: AsyncIterator[bytes], boundary: str, limit: int) -> AsyncGenerator[Part, None]:
    """The parts of a body, of which never more than the one that is arriving is held.

    Raises Broken, and PartTooLarge where a part has more than `limit` bytes. A body that ends without its closing
    boundary is broken, after the whole parts before it were given out.
    """
    reader = _Reader(stream)
    marker = b"\r\n--" + boundary.encode("latin-1")
    reader.buffer += b"\r\n"  # so that a body that begins with its boundary looks like every other place
    await reader.until(marker, MAX_HEADER_BYTES)
    while await reader.goes_on():
        head = await reader.until(b"\r\n\r\n", MAX_HEADER_BYTES)
        try:
            content = await reader.until(marker, limit)
        except _Longer as longer:
            raise PartTooLarge from longer
        yield Part(_media_type(head), content)


class _Longer(Broken):
    pass


class _Reader:
    """A buffer in front of the stream. Each byte is looked at once: a search goes on where the last one ended."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self.buffer = bytearray()

    async def until(self, mark: bytes, limit: int) -> bytes:
        """What comes before `mark`, which is consumed too."""
        start = 0
        while (at := self.buffer.find(mark, start)) < 0:
            if len(self.buffer) > limit + len(mark):
                raise _Longer("a part is too long")
            start = max(0, len(self.buffer) - len(mark) + 1)
            await self._more()
        if at > limit:
            raise _Longer("a part is too long")
        with memoryview(self.buffer) as whole:  # one copy: a part may have 50 MB
            found = bytes(whole[:at])
        del self.buffer[: at + len(mark)]
        return found

    async def goes_on(self) -> bool:
        """Whether another part follows the boundary that was just read; not, after the closing one."""
        while len(self.buffer) < 2:
            await self._more()
        if self.buffer.startswith(b"--"):
            await self._rest()
            return False
        line = await self.until(b"\r\n", MAX_HEADER_BYTES)
        if line.strip(b" \t"):
            raise Broken("a boundary is followed by other text")
        self.buffer[:0] = b"\r\n"  # a part without headers has its empty line at once
        return True

    async def _more(self) -> None:
        chunk = await anext(self._stream, b"")
        while not chunk:
            try:
                chunk = await anext(self._stream)
            except StopAsyncIteration:
                raise Broken("the body ends within a part") from None
        self.buffer += chunk

    async def _rest(self) -> None:
        """What follows the closing boundary means nothing (RFC 2046 5.1.1)."""
        self.buffer.clear()
        async for _ in self._stream:
            pass


def _media_type(head: bytes) -> str:
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-type":
            return parameters(value.strip())[0]
    return ""
