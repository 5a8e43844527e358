"""The running stack as the measurements see it: its counters, its processes' processor time, its services."""

import asyncio
import os
import signal
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from adapters import bootstrap
from adapters.bootstrap import Services
from adapters.clock import Clock, SystemClock
from adapters.settings import Settings
from clinstream.supervision import records
from schemas.errors import UserError

POLL_S = (0.05, 0.5)
"""Shortest and longest wait between two looks at a counter. A look costs 4 ms of processor time, most of it
here: twenty a second took 0.08 of a core from what was being measured."""
PATIENCE_S = 300.0

Labels = tuple[tuple[str, str], ...]


def parse(text: str) -> dict[tuple[str, Labels], float]:
    """Samples of the Prometheus text format by name (counters with `_total`, as the parser has it) and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: dict[tuple[str, Labels], float], name: str, **labels: str) -> float:
    """The sum of the samples of this name whose labels include the given ones."""
    wanted = set(labels.items())
    return sum(value for (found, having), value in samples.items() if found == name and wanted <= set(having))


@dataclass
class Plant:
    """A stack that is up, and the services that a bench uses itself."""

    settings: Settings
    services: Services
    clock: Clock

    async def counters(self, process: str) -> dict[tuple[str, Labels], float]:
        """What number 0 of a process exports now; raises OSError while it does not answer."""
        return await self._scrape(f"127.0.0.1:{self.settings.metrics_port(process)}")

    async def triton(self) -> dict[tuple[str, Labels], float]:
        """What Triton exports now."""
        return await self._scrape(self.settings.triton.metrics)

    async def _scrape(self, place: str) -> dict[tuple[str, Labels], float]:
        def ask() -> str:
            with urllib.request.urlopen(f"http://{place}/metrics", timeout=5) as answer:
                return str(answer.read().decode())

        return parse(await asyncio.to_thread(ask))

    def numbers(self, process: str) -> list[str]:
        """The components of one row of the process table that run now, for example `record.0`."""
        found = (record.name for record in records.read_all(self.settings.home / "run") if record.alive())
        return sorted(name for name in found if name.rpartition(".")[0] == process)

    async def counter(self, process: str, name: str, **labels: str) -> float:
        """The sum of a counter over all components of a row."""
        total_of_all = 0.0
        for component in self.numbers(process):
            place = f"127.0.0.1:{self.settings.metrics_port(process, int(component.rpartition('.')[2]))}"
            total_of_all += total(await self._scrape(place), name, **labels)
        return total_of_all

    def pid(self, name: str) -> int:
        """The process id of a component, for example `kafka` or `record.0`; UserError when it does not run here."""
        for record in records.read_all(self.settings.home / "run"):
            if record.name == name and record.alive():
                return record.pid
        raise UserError(f"{name} does not run in {self.settings.home}; start the stack with `clinstream up`.")

    def cpu_s(self, names: Sequence[str]) -> float:
        """Processor seconds that these components and their children have used; external ones count nothing."""
        spent = 0.0
        for name in names:
            try:
                process = psutil.Process(self.pid(name))
            except (UserError, psutil.NoSuchProcess):
                continue
            spent += sum(_cpu_s(each) for each in (process, *process.children(recursive=True)))
        return spent

    @contextmanager
    def held(self, name: str) -> Iterator[None]:
        """Stops a component in its tracks while a topic is filled, so that reading starts at one moment.

        Shorter than the 10 s after which Kafka would give its partitions away.
        """
        pid = self.pid(name)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):  # held for too long, it was started anew
                os.kill(pid, signal.SIGCONT)

    async def until(self, process: str, name: str, value: float, **labels: str) -> float:
        """Waits until a counter reaches `value` and returns the clock's time; UserError after five minutes."""
        began = self.clock.monotonic()
        first = total(await self.counters(process), name, **labels)
        now, found = began, first
        while now < began + PATIENCE_S:
            if found >= value:
                return now
            # Half of what is left to wait at the pace so far, so that the end is seen within a twentieth of a second.
            left = (value - found) * (now - began) / (found - first) if found > first else 0.0
            await self.clock.sleep(min(max(left / 2, POLL_S[0]), POLL_S[1]))
            found = total(await self.counters(process), name, **labels)
            now = self.clock.monotonic()
        raise UserError(f"{process} did not finish its work in {PATIENCE_S:.0f} s; see its log in the state folder.")


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


@asynccontextmanager
async def plant(settings: Settings) -> AsyncIterator[Plant]:
    """The running stack of `settings`; UserError when there is none."""
    if not _runs(settings.home):
        raise UserError(f"No stack runs in {settings.home}; start it with `clinstream up`.")
    clock = SystemClock()
    async with bootstrap.services(settings, {"publisher", "database", "store", "inference"}) as services:
        yield Plant(settings, services, clock)


def _runs(home: Path) -> bool:
    return any(record.alive() for record in records.read_all(home / "run"))
