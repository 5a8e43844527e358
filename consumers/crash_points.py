"""Named places where a test can have this process die as a power cut would; nothing happens unless one is set."""

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from schemas.errors import SettingsError

NAMES = ("after-decode", "after-triton", "after-commit", "after-step", "before-ack")
FROM_FILE = "file"
HELD_S = 1.2


@dataclass(slots=True)
class _Armed:
    name: str
    passes_left: int


_armed: list[_Armed] = []


def setting_of(setting: str, home: Path, process: str, index: int) -> str:
    """The place set for this life of one process: `file` takes it, once, from `run/crash/<process>.<index>`.

    Whoever restarts the process after that gets one that lives: the file is gone before anything can die of it.
    """
    if setting != FROM_FILE:
        return setting
    path = home / "run" / "crash" / f"{process}.{index}"
    try:
        found = path.read_text().strip()
    except FileNotFoundError:
        return ""
    path.unlink()
    return found


def arm(setting: str) -> None:
    """Sets the place from `name:N`: die when it is passed for the N-th time. An empty setting disarms.

    Raises SettingsError for a name that does not exist.
    """
    _armed.clear()
    if not setting:
        return
    name, _, number = setting.partition(":")
    if name not in NAMES or not number.isdecimal() or int(number) < 1:
        raise SettingsError(f"crash point {setting!r} is not one of {', '.join(NAMES)} followed by ':N'")
    _armed.append(_Armed(name, int(number)))


async def reach(name: str) -> None:
    """Called by the loop and the steps as they pass a named place.

    What is at the place when the process is to die stays there while commits go by: one that went past it would
    otherwise have to fall into the milliseconds in between for a test to notice.
    """
    if _armed and _armed[0].name == name:
        _armed[0].passes_left -= 1
        if _armed[0].passes_left == 0:
            await asyncio.sleep(HELD_S)
            _die()


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise SystemExit("unreachable: SIGKILL cannot be caught")
