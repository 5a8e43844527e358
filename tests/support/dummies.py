"""Small processes for tests of the supervisor: they say when they are ready and do what they are told."""

import json
import sys
from pathlib import Path
from typing import Any

from clinstream.supervision.component import Command, Component, Step
from clinstream.supervision.supervisor import STATUS

# Says that it is ready, keeps on living; on SIGTERM writes its name at the end of `ended` and goes.
LIVES = """
import os, pathlib, signal, sys, time
home, name = pathlib.Path(sys.argv[1]), sys.argv[2]
def end(*_):
    with (home / "ended").open("a") as file:
        file.write(name + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
(home / f"{name}.ready").write_text(str(os.getpid()))
while True:
    time.sleep(60)
"""
DIES_AT_ONCE = "import sys; sys.exit('the disk is on fire')"
IGNORES_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + LIVES.replace(
    "signal.signal(signal.SIGTERM, end)", ""
)
HAS_A_CHILD = (
    "import subprocess, pathlib, sys;"
    "child = subprocess.Popen(['sleep', '600']);"
    "(pathlib.Path(sys.argv[1]) / 'child').write_text(str(child.pid))\n" + LIVES
)


def command(home: Path, name: str, script: str, stop_signal: int = 15) -> Command:
    """A command line that runs the script with the home and its name."""
    argv = (sys.executable, "-S", "-c", script, str(home), name)
    return Command(argv, {}, home, home / f"{name}.log", stop_signal=stop_signal)


def component(home: Path, name: str, script: str = LIVES, **more: Any) -> Component:
    """A component that is ready when its present process has said so."""
    said = home / f"{name}.ready"

    async def ready() -> bool:
        return said.exists()

    more.setdefault("kind", "part")
    more.setdefault("before_start", lambda: said.unlink(missing_ok=True))
    return Component(name=name, command=command(home, name, script), ready=ready, stop_timeout_s=2.0, **more)


def step(home: Path, name: str, script: str) -> Step:
    """A step that always runs."""
    return Step(name, command(home, name, script), needed=lambda: True, timeout_s=10.0)


def status(run: Path) -> dict[str, Any]:
    """What the supervisor wrote last; empty before it wrote anything."""
    try:
        found = json.loads((run / STATUS).read_text())
    except FileNotFoundError:
        return {}
    return dict(found)


def report(run: Path, name: str) -> dict[str, Any]:
    """What it wrote of one component."""
    return next((part for part in status(run).get("components", []) if part["name"] == name), {})
