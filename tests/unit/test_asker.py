"""The benches' own HTTP client: one connection for many requests, and an answer that is cut is an error."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from clinstream.benches.asker import Asker
from schemas.errors import UserError

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _with(peer: Peer, asks: int) -> list[tuple[int, bytes]]:
    serving = await asyncio.start_server(peer, "127.0.0.1", 0)
    async with serving:
        port = serving.sockets[0].getsockname()[1]
        async with Asker("127.0.0.1", port, {"api-secret": "s"}) as asker:
            return [await asker.post("/here", b'{"n": %d}' % number) for number in range(asks)]


async def test_all_requests_use_one_connection_and_answers_are_told_apart() -> None:
    opened = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(writer)
        for status in (200, 503, 200):
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            assert head.startswith(b"post /here http/1.1")
            assert b"api-secret: s" in head
            body = await reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))
            writer.write(b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body)
        writer.close()

    assert await _with(echo, 3) == [(200, b'{"n": 0}'), (503, b'{"n": 1}'), (200, b'{"n": 2}')]
    assert len(opened) == 1


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nless"])
async def test_an_answer_that_is_cut_or_of_unknown_length_is_an_error(said: bytes) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        writer.close()

    with pytest.raises(UserError, match="did not answer"):
        await _with(cut, 1)


async def test_where_nothing_listens_is_said() -> None:
    serving = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = serving.sockets[0].getsockname()[1]
    serving.close()
    await serving.wait_closed()
    with pytest.raises(UserError, match="Nothing answers"):
        async with Asker("127.0.0.1", port, {}):
            pass
