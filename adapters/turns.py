"""Taking turns among processes of one machine; the kernel gives a turn back when its holder ends, however it does."""

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from adapters.clock import Clock
from schemas.errors import ServerDown

LOOK_EVERY_S: Final = 0.2


@asynccontextmanager
async def turn(path: Path, clock: Clock, within_s: float, what: str) -> AsyncIterator[None]:
    """Holds the file `path`, which is made where its folder is there; without the folder there is nothing to share.

    Raises ServerDown, which says `what` somebody else does, when the turn does not come within `within_s` seconds.
    """
    if not path.parent.is_dir():
        yield
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        ends = clock.monotonic() + within_s
        while not _taken(handle):
            if clock.monotonic() > ends:
                raise ServerDown(f"another process {what}")
            await clock.sleep(LOOK_EVERY_S)
        yield
    finally:
        os.close(handle)


def _taken(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
