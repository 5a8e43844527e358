"""Ports that supervisors of this cache have chosen and not all bound yet, so that two starting at once never meet.

A stack chooses 19 ports and binds the last of them many seconds later; a free port alone is therefore no promise.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from clinstream.supervision import records

FOLDER = "ports"


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of living processes other than this one: `taken`; and a way to add this one's own."""

    folder: Path
    taken: frozenset[int]

    def add(self, ports: Iterable[int]) -> None:
        """Claims ports for as long as this process lives."""
        me = os.getpid()
        for port in ports:
            (self.folder / str(port)).write_text(f"{me} {records.started_at(me)}")


@contextmanager
def held(cache: Path) -> Iterator[Claims]:
    """The claims, unchanged by anybody else until the block is left; those of the dead are removed."""
    folder = cache / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Claims(folder, frozenset(_living(folder)))


def release(cache: Path) -> None:
    """Gives back what this process has claimed."""
    for path in _files(cache / FOLDER):
        if _holder(path)[0] == os.getpid():
            path.unlink(missing_ok=True)


def _living(folder: Path) -> Iterator[int]:
    for path in _files(folder):
        pid, started = _holder(path)
        if not pid or records.started_at(pid) != started:
            path.unlink(missing_ok=True)
        elif pid != os.getpid():
            yield int(path.name)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("[0-9]*") if path.name.isdigit()]


def _holder(path: Path) -> tuple[int, str]:
    with suppress(OSError, ValueError):
        pid, _, started = path.read_text().partition(" ")
        return int(pid), started
    return 0, ""
