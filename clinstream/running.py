"""The installation's supervisor seen from outside: start it, follow it, stop it; it is a process of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from adapters import settings as settings_room
from clinstream.embedded import triton
from clinstream.embedded.home import Home
from clinstream.supervise import CONFLICT
from clinstream.supervision import lock, records
from clinstream.supervision.processes import LAUNCHER, last_line
from clinstream.supervision.supervisor import STATUS
from schemas.errors import Conflict, UserError

POLL_S = 0.05
LONGEST_STOP_S = 90.0

Tell = Callable[[dict[str, Any]], None]


@dataclass(slots=True)
class Interrupts:
    """How often the user pressed Ctrl-C (or SIGTERM came) since we listen."""

    count: int = 0


@contextmanager
def counted_interrupts() -> Iterator[Interrupts]:
    """Counts SIGINT and SIGTERM instead of raising, so that no moment is left in which one leaks a process."""
    seen = Interrupts()

    def note(number: int, frame: FrameType | None) -> None:
        seen.count += 1

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def read_status(home: Home) -> dict[str, Any]:
    """What the supervisor wrote last; empty when there is nothing to read."""
    try:
        found = json.loads((home.run / STATUS).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def is_running(home: Home) -> bool:
    """Whether the installation's supervisor is alive."""
    return lock.is_held(home.run)


def start(
    home: Home, *, parts: Sequence[str], ports: Sequence[str], services: bool, bound_to_us: bool
) -> "subprocess.Popen[bytes]":
    """Starts the supervisor in a session of its own; `bound_to_us` ends it when this process is gone."""
    home.make()
    argv = [sys.executable, "-m", "clinstream.supervise", str(home.folder)]
    argv += [word for part in parts for word in ("--part", part)]
    argv += [word for port in ports for word in ("--port", port)]
    argv += [] if services else ["--no-services"]
    if bound_to_us:
        order = [str(int(signal.SIGTERM)), "0", "-", str(os.getpid())]
        argv = [sys.executable, "-I", "-S", str(LAUNCHER), *order, *argv]
    with open(os.open(log_of(home), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as log:
        return subprocess.Popen(
            argv,
            env=settings_room.child_environment(home.folder),
            cwd=home.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def log_of(home: Home) -> Path:
    """Where the supervisor's own output goes."""
    return home.logs / "supervisor.log"


def follow(home: Home, process: "subprocess.Popen[bytes]", interrupts: Interrupts, tell: Tell) -> bool:
    """Waits until the stack is ready, telling each change of status; False when interrupted: all is down then.

    Raises UserError with the reason when the stack does not come up, Conflict when another supervisor was first.
    """
    told: dict[str, Any] = {}
    while process.poll() is None:
        if interrupts.count:
            end(process, interrupts)
            return False
        status = read_status(home)
        if status.get("pid") == process.pid and status != told:
            told = status
            tell(status)
            if status["phase"] == "ready":
                return True
        time.sleep(POLL_S)
    if process.returncode == CONFLICT:
        raise Conflict(f"Another supervisor of {home.folder} was first.")
    status = read_status(home)
    message = status.get("message") if status.get("pid") == process.pid else ""
    raise UserError(message or f"The supervisor ended: {last_line(log_of(home))}")


def stay(process: "subprocess.Popen[bytes]", interrupts: Interrupts) -> bool:
    """Waits until the supervisor ends or the user interrupts; then takes all down and returns False."""
    while process.poll() is None and not interrupts.count:
        time.sleep(POLL_S)
    end(process, interrupts)
    return False


def end(process: "subprocess.Popen[bytes]", interrupts: Interrupts) -> None:
    """Asks the supervisor to take everything down and waits; each further interrupt asks again, harder."""
    asked = 0
    until = time.monotonic() + LONGEST_STOP_S
    while process.poll() is None:
        if asked < max(1, interrupts.count):
            asked += 1
            process.send_signal(signal.SIGTERM)
        if time.monotonic() > until:
            process.kill()
        time.sleep(POLL_S)


def take_down(home: Home) -> list[str]:
    """Stops the installation: through its supervisor, else process by process; the names that were running."""
    if not home.run.exists():
        return []
    names = [record.name for record in records.read_all(home.run) if record.alive()]
    status = read_status(home)
    pid, started = int(status.get("pid") or 0), status.get("started")
    until = time.monotonic() + LONGEST_STOP_S
    if pid and records.started_at(pid) == started:
        os.kill(pid, signal.SIGTERM)
        while records.started_at(pid) == started:
            time.sleep(POLL_S)
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
    records.stop_all(home.run, records.read_all(home.run))
    triton.sweep(home)
    (home.run / STATUS).unlink(missing_ok=True)
    return names
