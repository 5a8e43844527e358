"""Keeps one component alive: start, wait until ready, restart when it dies, stop when told."""

import asyncio
import time
from asyncio.subprocess import Process
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clinstream.supervision import processes, records
from clinstream.supervision.component import Component, Step
from schemas.errors import UserError

State = Literal["waiting", "starting", "ready", "restarting", "stopping", "stopped", "failed"]

PROBE_EVERY_S = 0.1
QUICK_DEATH_S = 10.0
FIRST_DELAY_S = 0.5
LONGEST_DELAY_S = 10.0
ATTEMPTS_AT_START = 3
AFTER_RESTART_S = 300.0
"""Longer than the longest wait inside: a slow machine cut short would begin from the start again, for ever."""


def restart_delay_s(quick_deaths: int) -> float:
    """Seconds to wait before a restart: none after a first death, doubling over deaths soon after a start."""
    if quick_deaths <= 1:
        return 0.0
    return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(quick_deaths - 2, 16))


@dataclass(slots=True)
class Report:
    """What is known of a component now; `since` is in seconds since the epoch."""

    name: str
    kind: str
    state: State = "waiting"
    pid: int | None = None
    restarts: int = 0
    last_exit: str | None = None
    since: float = 0.0


class Keeper:
    """One component's life. `keep` runs until cancelled; afterwards `stop` must be awaited."""

    def __init__(self, component: Component, run: Path, order: int, changed: Callable[[], None]) -> None:
        self.component = component
        self.report = Report(component.name, component.kind)
        self.first_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._run = run
        self._order = order
        self._changed = changed
        self._process: Process | None = None
        self._started_s = 0.0
        self._quick_deaths = 0

    async def keep(self) -> None:
        """Starts the component and starts it again whenever it ends; a failing first start ends this."""
        try:
            for step in self.component.steps:
                if step.needed():
                    self._become("starting")
                    await processes.run_to_end(step, self._run, self._order)
            while True:
                await self._live_once()
                await asyncio.sleep(restart_delay_s(self._quick_deaths))
        except UserError as failure:
            self._become("failed")
            self.first_ready.set_exception(failure)

    async def stop(self) -> None:
        """Ends the component's process, kindly first, and forgets its record."""
        if self._process is not None and self._process.returncode is None:
            self._become("stopping")
        if self._process is not None:
            command = self.component.command
            await processes.stop(self._process, command.stop_signal, self.component.stop_timeout_s)
        records.remove(self._run, self.component.name)
        self._become("stopped")

    def kill(self) -> None:
        """SIGKILL at once: the user does not want to wait for a kind stop."""
        if self._process is not None:
            processes.kill_group(self._process)

    async def _live_once(self) -> None:
        """One life, from start to end; UserError when it has not been ready once after several attempts."""
        try:
            await self._live()
        except UserError as failure:
            if not self.first_ready.done():
                raise
            # It ran before, so what stands in the way now (a full disk) may pass.
            self._quick_deaths += 1
            self.report.last_exit = str(failure)
            self._become("restarting")

    async def _live(self) -> None:
        component = self.component
        self._become("restarting" if self.report.last_exit else "starting")
        if component.before_start is not None:
            await asyncio.to_thread(component.before_start)
        process = await processes.start(component.command)
        self._process, self._started_s = process, time.monotonic()
        self.report.pid = process.pid
        processes.record(self._run, component.name, process, component.command, self._order, component.stop_timeout_s)
        self._changed()
        ended = asyncio.ensure_future(process.wait())
        try:
            if await self._wait_until_ready(ended):
                await self._now_ready()
            await ended
        finally:
            ended.cancel()
        self._died(process)

    async def _wait_until_ready(self, ended: "asyncio.Future[int]") -> bool:
        """False when the process ended first, or was ended because it was not ready in its time."""
        until = time.monotonic() + self.component.ready_timeout_s
        while not ended.done():
            if await self.component.ready():
                return not ended.done()
            if time.monotonic() > until:
                assert self._process is not None
                await processes.stop(self._process, self.component.command.stop_signal, 5.0)
                return False
            await asyncio.wait([ended], timeout=PROBE_EVERY_S)
        return False

    async def _now_ready(self) -> None:
        again = self.first_ready.done()
        if again and self.component.after_restart is not None:
            name = f"{self.component.name}.after-restart"
            step = Step(name, self.component.after_restart, needed=lambda: True, timeout_s=AFTER_RESTART_S)
            try:
                await processes.run_to_end(step, self._run, self._order)
            except UserError:
                # Not ready without it, so it is ended and tried again, with back-off.
                assert self._process is not None
                await processes.stop(self._process, self.component.command.stop_signal, 5.0)
                raise
        self._become("ready")
        if not again:
            self.first_ready.set_result(None)

    def _died(self, process: Process) -> None:
        processes.kill_group(process)
        lived_s = time.monotonic() - self._started_s
        self._quick_deaths = self._quick_deaths + 1 if lived_s < QUICK_DEATH_S else 1
        self.report.restarts += 1
        self.report.pid = None
        self.report.last_exit = processes.describe(process.returncode or 0)
        self._become("restarting")
        if not self.first_ready.done() and self.report.restarts >= ATTEMPTS_AT_START:
            reason = processes.last_line(self.component.command.log)
            raise UserError(f"{self.component.name} does not start ({self.report.last_exit}): {reason}")

    def _become(self, state: State) -> None:
        self.report.state = state
        self.report.since = time.time()
        self._changed()
