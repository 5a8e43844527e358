"""Answers whether a server is there, by the cheapest question that only a working one answers; never raises."""

import asyncio
from contextlib import suppress

TIMEOUT_S = 2.0


async def accepts(host: str, port: int) -> bool:
    """Whether something accepts TCP connections at host:port."""
    return await _ask(host, port, b"", b"")


async def redis_answers(host: str, port: int) -> bool:
    """Whether Redis answers PING (RESP, inline command)."""
    return await _ask(host, port, b"PING\r\n", b"+PONG")


async def postgres_answers(host: str, port: int) -> bool:
    """Whether PostgreSQL has finished starting.

    While it starts up or recovers it accepts and answers too, so it is asked for a session (protocol 3.0,
    StartupMessage): it then asks for a password or refuses, but not with `57P03 cannot_connect_now`.
    """
    body = b"\x00\x03\x00\x00user\x00clinstream-probe\x00database\x00clinstream-probe\x00\x00"
    packet = (len(body) + 4).to_bytes(4, "big") + body
    answer = await _answer(host, port, packet)
    return answer.startswith((b"E", b"R")) and b"57P03" not in answer


async def kafka_answers(host: str, port: int) -> bool:
    """Whether a broker answers ApiVersions (key 18, version 0), which it does once it serves requests."""
    request = b"\x00\x12\x00\x00\x00\x00\x00\x01\x00\x05probe"
    packet = len(request).to_bytes(4, "big") + request
    answer = await _answer(host, port, packet)
    return len(answer) >= 8 and answer[4:8] == b"\x00\x00\x00\x01"


async def http_ok(host: str, port: int, path: str, containing: bytes = b"") -> bool:
    """Whether GET of `path` answers 200 with a body that contains the bytes."""
    status, body = await http_get(host, port, path)
    return status == 200 and containing in body


async def http_get(host: str, port: int, path: str) -> tuple[int, bytes]:
    """Status and body of a GET over HTTP/1.0; (0, b"") when there is no answer in time."""
    request = f"GET {path} HTTP/1.0\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
    answer = await _answer(host, port, request, whole=True)
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return (int(words[1]), body) if len(words) > 1 and words[1].isdigit() else (0, b"")


async def _ask(host: str, port: int, question: bytes, expected: bytes) -> bool:
    if not question:
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(TIMEOUT_S):
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                return True
        return False
    return (await _answer(host, port, question)).startswith(expected)


async def _answer(host: str, port: int, question: bytes, *, whole: bool = False) -> bytes:
    """What comes back: the first bytes, or all until the server closes; empty when nothing does in time."""
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(question)
            await writer.drain()
            return await (reader.read(-1) if whole else reader.read(4096))
    except (OSError, TimeoutError):
        return b""
    finally:
        if writer is not None:
            writer.close()
