"""An HTTP client that costs next to nothing, so that a bench on the same cores measures the door and not itself.

One connection, one request at a time. Only what our own doors answer is understood: a status and a body whose length
is told.
"""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from schemas.errors import UserError

TIMEOUT_S = 60.0
END = b"\r\n\r\n"
LENGTH = b"content-length:"


class Asker:
    """One kept connection to a door on this machine; raises UserError where the door breaks it off or is silent."""

    def __init__(self, host: str, port: int, headers: Mapping[str, str]) -> None:
        self._place = (host, port)
        lines = {"host": f"{host}:{port}", "content-type": "application/json", **headers}
        self._head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def __aenter__(self) -> Self:
        try:
            self._streams = await asyncio.open_connection(*self._place)
        except OSError as error:
            raise UserError(f"Nothing answers at {self._place[0]}:{self._place[1]}.") from error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._streams is not None:
            self._streams[1].close()

    async def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """(status, body) of the answer."""
        return await self._ask("POST", path, body)

    async def get(self, path: str) -> tuple[int, bytes]:
        """(status, body) of the answer."""
        return await self._ask("GET", path, b"")

    async def _ask(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        assert self._streams is not None  # within `async with`
        reader, writer = self._streams
        writer.write(f"{method} {path} HTTP/1.1\r\n{self._head}content-length: {len(body)}\r\n\r\n".encode() + body)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                head = await reader.readuntil(END)
                return int(head.split(b" ", 2)[1]), await reader.readexactly(_length(head))
        except (TimeoutError, OSError, asyncio.IncompleteReadError, ValueError) as error:
            raise UserError(f"The door did not answer {path} properly ({type(error).__name__}).") from error


def _length(head: bytes) -> int:
    """What the answer says of its body; ValueError where it says nothing."""
    told = next((line for line in head.lower().split(b"\r\n") if line.startswith(LENGTH)), LENGTH)
    return int(told.removeprefix(LENGTH))
