"""Which processes an installation has running, on disk, so that whoever comes next can find and stop them.

A process is named by its id *and* its start time: an id alone may by now belong to a stranger.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

SUFFIX = ".process.json"
POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Record:
    """One running process: `started` is its start time as the kernel keeps it, `order` its place at start."""

    name: str
    pid: int
    started: str
    order: int
    stop_signal: int
    stop_timeout_s: float

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return bool(self.started) and started_at(self.pid) == self.started


def started_at(pid: int) -> str:
    """When a process started, in a form that only equality is defined on; empty when it is gone or a zombie.

    Linux: the boot and its clock ticks since then (proc(5), stat field 22), which no change of the clock moves;
    elsewhere what ps(1) says, in seconds.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return "" if fields[0] in "ZX" else f"{boot}:{fields[19]}"
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return ""
    asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return asked.stdout.strip()


def write(folder: Path, record: Record) -> None:
    """Keeps a record; complete or absent, never half."""
    half = folder / f".{record.name}.half"
    half.write_text(json.dumps(asdict(record)))
    half.replace(folder / f"{record.name}{SUFFIX}")


def remove(folder: Path, name: str) -> None:
    """Forgets the process of that name."""
    (folder / f"{name}{SUFFIX}").unlink(missing_ok=True)


def read_all(folder: Path) -> list[Record]:
    """All records of an installation, in the order of start; unreadable ones are left out."""
    found: list[Record] = []
    for path in folder.glob(f"*{SUFFIX}"):
        with suppress(OSError, ValueError, TypeError):
            found.append(Record(**json.loads(path.read_text())))
    return sorted(found, key=lambda record: record.order)


def signal_group(record: Record, number: int) -> None:
    """Signals the process and, for SIGKILL, all of its session's group; only if it is still the same process."""
    if not record.alive():
        return
    with suppress(ProcessLookupError, PermissionError):
        if number == signal.SIGKILL:
            os.killpg(record.pid, number)
        else:
            os.kill(record.pid, number)


def stop_all(folder: Path, records: Iterable[Record]) -> list[str]:
    """Stops processes in reverse order of start, each kindly and then by SIGKILL; the names that were running.

    Blocks until each is gone. Records of processes that are gone already are removed too.
    """
    stopped: list[str] = []
    for record in reversed(list(records)):
        if record.alive():
            stopped.append(record.name)
            signal_group(record, record.stop_signal)
            if not _gone_within(record, record.stop_timeout_s):
                signal_group(record, signal.SIGKILL)
                _gone_within(record, 10.0)
        remove(folder, record.name)
    return stopped


def _gone_within(record: Record, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while record.alive():
        if time.monotonic() > until:
            return False
        time.sleep(POLL_S)
    return True
