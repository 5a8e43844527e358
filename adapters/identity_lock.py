"""One process for one identity: two members of a group with one instance id would rebalance for ever."""

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.errors import Conflict


def instance_id(process: str, index: int, topics: Iterable[str]) -> str:
    """The static member id for Kafka's group protocol (KIP-345).

    It changes with the topics: a static member that comes back with one topic more would never be given it.
    """
    digest = hashlib.sha256("\n".join(sorted(topics)).encode()).hexdigest()
    return f"{process}.{index}.{digest[:8]}"


@contextmanager
def identity(home: Path, process: str, index: int) -> Iterator[Path]:
    """Holds `run/<process>.<index>.lock` until the process ends, however it ends.

    Raises Conflict when another process holds it.
    """
    path = home / "run" / f"{process}.{index}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
            raise Conflict(f"{process} number {index} runs already as process {holder}; stop that one first") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield path
    finally:
        os.close(handle)
