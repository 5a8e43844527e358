"""One supervisor an installation: a lock that the kernel releases when its holder is gone, however it went."""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from schemas.errors import Conflict

NAME = "supervisor.lock"


class Lock:
    """Held for as long as the supervisor lives; Conflict when another one holds it.

    `is_held` takes it for a moment too, so a supervisor tries for `patience_s` before it gives up.
    """

    def __init__(self, run: Path, patience_s: float = 1.0) -> None:
        self._path = run / NAME
        self._patience_s = patience_s
        self._file: int | None = None

    def __enter__(self) -> Self:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        until = time.monotonic() + self._patience_s
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self
            except BlockingIOError:
                if time.monotonic() > until:
                    os.close(self._file)
                    raise Conflict(f"{self._path.parent.parent} is in use by another supervisor.") from None
            time.sleep(0.02)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            os.close(self._file)


def is_held(run: Path) -> bool:
    """Whether a supervisor of this installation is alive."""
    try:
        with Lock(run, patience_s=0.0):
            return False
    except Conflict:
        return True
    except FileNotFoundError:
        return False
