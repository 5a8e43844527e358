"""A whole running clinstream in a folder of its own, seen from outside; what is done to it is in `faults`."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil

from adapters import settings as settings_room
from adapters.settings import Settings
from clinstream import running
from clinstream.embedded import postgres
from clinstream.embedded.home import Home

ROOT = Path(__file__).resolve().parents[2]
RUNNING_HOME = "CLINSTREAM_TEST_HOME"
"""Names the home of a stack that is up already (with CLINSTREAM_CRASH_POINT=file); for working on these tests."""

PARTS = ("database", "redis", "kafka", "triton")


def await_condition(condition: Callable[[], bool], seconds: float, what: str, *, every_s: float = 0.1) -> float:
    """Returns the seconds that it took until `condition` held; fails the test when it does not in time."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds:.0f} s: {what}"
        time.sleep(every_s)
    return time.monotonic() - began


@dataclass(frozen=True, slots=True)
class Seen:
    """One component as the supervisor reports it."""

    name: str
    kind: str
    state: str
    pid: int | None
    restarts: int
    last_exit: str | None


class Plant:
    """One installation; every process of it can be found, asked and ended from here."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder)
        self._settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """What the installation's own processes see."""
        if self._settings is None:
            self._settings = settings_room.load(self.home.folder)
        return self._settings

    @property
    def store(self) -> Path:
        """The folder of the embedded object store."""
        return self.home.folder / "store"

    @property
    def training_data(self) -> Path:
        """Where the trainer looks for base data; beside the home, which tests of `restore` empty."""
        return self.home.folder.with_name("training-data")

    def environment(self) -> dict[str, str]:
        """Nothing of the caller's clinstream settings but the cache; processes may be armed to die (crash points)."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CLINSTREAM_")}
        if "CLINSTREAM_CACHE" in os.environ:
            kept["CLINSTREAM_CACHE"] = os.environ["CLINSTREAM_CACHE"]
        return {
            **kept,
            "CLINSTREAM_HOME": str(self.home.folder),
            "CLINSTREAM_CRASH_POINT": "file",
            "CLINSTREAM_TRAINING_DATA": str(self.training_data),
            "CLINSTREAM_RETRAIN_AFTER": '{"icu_mortality": 20}',
        }

    def command(self, *argv: str, timeout: float = 180.0, **more: str) -> "subprocess.CompletedProcess[str]":
        """Runs `clinstream ARGV` against this installation; `more` are further environment variables."""
        return subprocess.run(
            [sys.executable, "-m", "clinstream", *argv],
            env={**self.environment(), **more},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )

    def up(self, **more: str) -> float:
        """Brings everything up and returns the seconds that it took."""
        began = time.monotonic()
        done = self.command("up", timeout=400.0, **more)
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-1000:]}"
        self._settings = None
        return time.monotonic() - began

    def down(self) -> None:
        """Takes everything down."""
        done = self.command("down")
        assert done.returncode == 0, done.stdout + done.stderr

    def components(self) -> dict[str, Seen]:
        """What the supervisor says of each of its processes."""
        return {
            part["name"]: Seen(*(part[name] for name in ("name", "kind", "state", "pid", "restarts", "last_exit")))
            for part in running.read_status(self.home).get("components", [])
        }

    def services(self) -> list[str]:
        """Our own processes, by name."""
        return [seen.name for seen in self.components().values() if seen.kind == "service"]

    def components_of(self, process: str) -> list[str]:
        """All components of one row of the process table."""
        return [name for name in self.services() if name.rpartition(".")[0] == process]

    def pid(self, name: str) -> int:
        """The process that is the component now."""
        found = self.components()[name].pid
        assert found, f"{name} is not running"
        return found

    @property
    def supervisor(self) -> int:
        """The process that keeps the others."""
        return int(running.read_status(self.home)["pid"])

    def is_ready(self, *names: str) -> bool:
        """Whether these components (all, when none is named) are ready."""
        seen = self.components()
        return bool(seen) and all(seen[name].state == "ready" for name in names or seen)

    def wait_ready(self, *names: str, seconds: float = 60.0) -> float:
        """Waits until they are."""
        try:
            return await_condition(lambda: self.is_ready(*names), seconds, "the components are ready")
        except AssertionError as late:
            for seen in self.components().values():
                if seen.state != "ready":
                    late.add_note(f"{seen.name} is {seen.state} after {seen.restarts} restarts: {seen.last_exit}")
                    late.add_note(self.log_end(seen.name))
            late.add_note(self.log_end("prepare"))
            raise

    def log_end(self, name: str, lines: int = 25) -> str:
        """The end of a component's log, for whoever reads why a test failed."""
        with suppress(OSError):
            text = (self.home.logs / f"{name}.log").read_text(errors="replace")
            return "\n".join([f"{name}.log:", *text.splitlines()[-lines:]])
        return f"{name}.log cannot be read"

    def processes(self) -> list[psutil.Process]:
        """Every process of the installation, found by its command line or environment, not by what we recorded."""
        mark, me = str(self.home.folder), os.getpid()
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                belongs = any(mark in word for word in process.cmdline())
                belongs = belongs or process.environ().get("CLINSTREAM_HOME") == mark
                if belongs and process.pid != me and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Runs one statement as the superuser of the embedded server, on a connection of its own."""

        async def run() -> list[tuple[Any, ...]]:
            password = self.home.secret(postgres.SUPERUSER_PASSWORD)
            place = f"127.0.0.1:{self.settings.ports['database']}/{postgres.DATABASE}"
            connection = await asyncpg.connect(f"postgresql://{postgres.SUPERUSER}:{password}@{place}")
            try:
                return [tuple(row) for row in await connection.fetch(statement, *values)]
            finally:
                await connection.close()

        return asyncio.run(run())

    def metric(self, process: str, index: int | str, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels, as one process exports it now."""
        port = self.settings.metrics_port(process, int(index))
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5.0).text
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        samples = [line.rpartition(" ") for line in text.splitlines() if line.startswith(name)]
        return sum(
            float(value)
            for head, _, value in samples
            if head.partition("{")[0] == name and all(label in head for label in wanted)
        )


@contextmanager
def planted() -> Iterator[Plant]:
    """A fresh installation, up; taken down at the end, which must leave no process behind."""
    given = os.environ.get(RUNNING_HOME)
    if given:
        yield Plant(Path(given))
        return
    folder = Path(tempfile.mkdtemp(prefix="clinstream-plant-"))
    folder.chmod(0o711)
    plant = Plant(folder / "home")
    try:
        plant.up()
        yield plant
        plant.down()
        left = [" ".join(process.cmdline())[:120] for process in plant.processes()]
        assert not left, f"left behind after down: {left}"
    finally:
        _remove(plant)
        shutil.rmtree(folder, ignore_errors=True)


def _remove(plant: Plant) -> None:
    """Whatever happened, nothing of the installation stays: processes, nor PostgreSQL's folder outside of the home."""
    with suppress(Exception):  # a test has failed already; what matters now is that the machine is clean
        running.take_down(plant.home)
    for process in plant.processes():
        with suppress(psutil.Error):
            process.kill()
    postgres.forget(plant.home)
