"""Brings components up in waves, keeps them, and takes them down in reverse; writes what it knows for `status`."""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from clinstream.supervision import processes, records
from clinstream.supervision.component import Component, Step
from clinstream.supervision.keeper import Keeper
from schemas.errors import UserError

Phase = Literal["starting", "ready", "stopping", "stopped", "failed"]
STATUS = "status.json"
SERVICES_AT_ONCE = 4
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Supervisor:
    """The life of one stack: parts and `prepare`, then services; then nothing until a stop is asked for.

    `components` start in their order: the parts together, the services a few at a time (two cores cannot start
    ten interpreters at once without every one of them being late).
    """

    def __init__(
        self,
        run: Path,
        components: Sequence[Component],
        prepare: Step | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self._run = run
        self._prepare = prepare
        self._notes = list(notes)
        self._phase: Phase = "starting"
        self._message = ""
        self._keepers = [Keeper(part, run, n, self._write) for n, part in enumerate(components, start=1)]
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()

    async def run(self) -> bool:
        """Runs until SIGTERM or SIGINT; a second one kills. False when the stack did not come up."""
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.request_stop)
        good = True
        bring_up = asyncio.ensure_future(self._bring_up())
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([bring_up, stop], return_when=asyncio.FIRST_COMPLETED)
            if bring_up.done():
                bring_up.result()
                self._become("ready")
                await stop
        except UserError as failure:
            good = False
            self._message = str(failure)
        finally:
            for task in (bring_up, stop):
                task.cancel()
                with suppress(asyncio.CancelledError, UserError):
                    await task
            await self._take_down()
            self._become("stopped" if good else "failed")
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
        return good

    async def _bring_up(self) -> None:
        self._become("starting")
        parts = [keeper for keeper in self._keepers if keeper.component.kind == "part"]
        services = [keeper for keeper in self._keepers if keeper.component.kind == "service"]
        await _all_or_first_failure([self._start_together(parts, at_once=len(parts) or 1), self._prepared(len(parts))])
        await self._start_together(services, at_once=SERVICES_AT_ONCE)

    async def _prepared(self, parts: int) -> None:
        """Runs the preparation beside the parts: it waits itself for what it needs, and its start costs 2 s."""
        if self._prepare is not None and self._prepare.needed():
            await processes.run_to_end(self._prepare, self._run, parts + 1)

    async def _start_together(self, keepers: Sequence[Keeper], at_once: int) -> None:
        turn = asyncio.Semaphore(at_once)

        async def start(keeper: Keeper) -> None:
            async with turn:
                task = asyncio.ensure_future(keeper.keep())
                self._tasks.append(task)
                await asyncio.wait([task, keeper.first_ready], return_when=asyncio.FIRST_COMPLETED)
                if task.done():
                    task.result()
                keeper.first_ready.result()

        await _all_or_first_failure([start(keeper) for keeper in keepers])

    async def _take_down(self) -> None:
        self._become("stopping")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for keeper in self._keepers:
            if keeper.first_ready.done() and not keeper.first_ready.cancelled():
                keeper.first_ready.exception()
        started = [keeper for keeper in self._keepers if keeper.report.state != "waiting"]
        await asyncio.gather(*(keeper.stop() for keeper in started if keeper.component.kind == "service"))
        for keeper in reversed(started):
            if keeper.component.kind == "part":
                await keeper.stop()

    def request_stop(self) -> None:
        """Takes everything down, kindly; asked again, by SIGKILL."""
        if self._stop.is_set():
            for keeper in self._keepers:
                keeper.kill()
        self._stop.set()

    def _become(self, phase: Phase) -> None:
        self._phase = phase
        self._write()

    def _write(self) -> None:
        """Replaces `run/status.json`; what `status` and a waiting `up` read."""
        me = os.getpid()
        found = {
            "pid": me,
            "started": records.started_at(me),
            "phase": self._phase,
            "message": self._message,
            "notes": self._notes,
            "components": [asdict(keeper.report) for keeper in getattr(self, "_keepers", [])],
        }
        half = self._run / f".{STATUS}.half"
        half.write_text(json.dumps(found))
        half.replace(self._run / STATUS)


async def _all_or_first_failure(starts: Sequence[Awaitable[None]]) -> None:
    tasks = [asyncio.ensure_future(start) for start in starts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
