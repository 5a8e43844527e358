"""An HTTP server that leaves signals to its process and says when it is ready; no route is here."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI

from adapters import telemetry
from schemas.errors import Conflict


def server(app: FastAPI, host: str, port: int) -> uvicorn.Server:
    """A server that leaves signals to its process, logs no requests, and finishes those under way when told to end."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        access_log=False,
        log_config=None,
        lifespan="off",
        timeout_graceful_shutdown=10,
        server_header=False,
    )
    return _Server(config)


async def serve(app: FastAPI, host: str, port: int) -> None:
    """Serves until cancelled, then finishes the requests under way; raises Conflict where the port cannot be had."""
    serving = server(app, host, port)
    work = asyncio.ensure_future(serving.serve())
    try:
        await asyncio.shield(work)
    except SystemExit as taken:
        raise Conflict(f"The port {port} cannot be had.") from taken
    except asyncio.CancelledError:
        serving.should_exit = True
        await work
        raise


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: the process stops the server in its own order."""
        yield

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        telemetry.metrics().ready.set(1)

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        telemetry.metrics().ready.set(0)
        await super().shutdown(sockets)
