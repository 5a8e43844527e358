"""What the supervisor knows of one process that it keeps alive: how to start, probe and stop it."""

import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["part", "service"]
Probe = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Command:
    """A command line with all that its process inherits; `user` is (uid, gid) to drop to, `nice` 0 to 19."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path
    log: Path
    user: tuple[int, int] | None = None
    nice: int = 0
    stop_signal: int = signal.SIGTERM
    stdin: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """A command that runs to its end before a component's first start, when `needed` says so."""

    name: str
    command: Command
    needed: Callable[[], bool]
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Component:
    """One supervised process. `ready` answers within a second or two and never raises.

    `before_start` prepares files each time; `steps` run once before the first start; `after_restart` is a command
    to run once the component is ready again after it died (Triton forgets its models, for example).
    """

    name: str
    kind: Kind
    command: Command
    ready: Probe
    ready_timeout_s: float = 60.0
    stop_timeout_s: float = 15.0
    steps: tuple[Step, ...] = ()
    before_start: Callable[[], None] | None = None
    after_restart: Command | None = field(default=None)
