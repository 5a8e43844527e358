"""A Triton to evaluate with: the running stack's when it serves the model, else one of its own for the time being."""

import asyncio
import tempfile
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from adapters import repository
from adapters.repository import Entry
from adapters.settings import Settings, TritonSettings
from adapters.triton import TritonClient
from clinstream.embedded import ports, setup, toolchain, triton
from clinstream.embedded.home import Home
from clinstream.supervision import processes
from schemas.errors import ServerDown, UserError

READY_S = 60.0


class LoneTriton:
    """A Triton server without the rest of the stack, in `folder`, on free ports that it keeps over restarts."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self._home = Home(folder)
        self._home.make()
        program = toolchain.triton_program(cache)
        if program is None:
            raise UserError("Triton is not installed yet: run `clinstream setup`.")
        names = ("triton-grpc", "triton-http", "triton-metrics")
        chosen, _ = ports.choose(names, {}, {})
        self._component = triton.component(self._home, chosen, program, None)
        self._process: Process | None = None
        grpc, http, metrics = (f"127.0.0.1:{chosen[name]}" for name in names)
        self.settings = TritonSettings(repository=folder / "repository", grpc=grpc, http=http, metrics=metrics)

    @property
    def pid(self) -> int:
        """The server's process id; 0 while it does not run."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Starts the server, with no model loaded, and returns when it is ready; raises UserError when it is not."""
        if self._component.before_start:
            self._component.before_start()
        self._process = await processes.start(self._component.command)
        try:
            async with asyncio.timeout(READY_S):
                while not await self._component.ready():
                    if self._process.returncode is not None:
                        raise UserError(f"Triton ended at once: {processes.last_line(self._component.command.log)}")
                    await asyncio.sleep(0.1)
        except TimeoutError:
            await self.stop()
            raise UserError(f"Triton was not ready within {READY_S:.0f} s.") from None

    async def stop(self) -> None:
        """Ends the server and its model processes."""
        process, self._process = self._process, None
        if process is not None:
            await processes.stop(process, self._component.command.stop_signal, 10.0)

    async def kill(self) -> None:
        """SIGKILL to the server and its model processes."""
        process, self._process = self._process, None
        if process is not None:
            processes.kill_group(process)
            await process.wait()


@asynccontextmanager
async def serving(settings: Settings, entries: Sequence[Entry]) -> AsyncIterator[tuple[TritonClient, str]]:
    """A client of a server that has the models of `entries` loaded, and a sentence that says which server it is.

    The stack's own server is used when it has them all; nothing is loaded into it. Otherwise a server is started in a
    temporary folder and ended afterwards.
    """
    wanted = [repository.triton_name(entry.card.name, entry.card.version) for entry in entries]
    async with TritonClient(settings.triton) as client:
        if await _has(client, wanted):
            yield client, f"the running stack's Triton at {settings.triton.grpc}"
            return
    setup.bring(settings.cache, {"triton"}, lambda sentence: None)
    with tempfile.TemporaryDirectory(prefix="clinstream-evaluate-") as folder:
        server = LoneTriton(Path(folder), settings.cache)
        repository.build(server.settings, entries)
        try:
            await server.start()
            async with TritonClient(server.settings) as client:
                await client.reconcile(wanted)
                yield client, "a Triton started for this evaluation"
        finally:
            await server.stop()


async def _has(client: TritonClient, wanted: Sequence[str]) -> bool:
    try:
        return set(wanted) <= await client.loaded()
    except ServerDown:
        return False
