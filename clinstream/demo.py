"""The guided tour of `clinstream demo`: the user's own commands, one killed process, and the count; no shortcuts."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console

from adapters import settings as configuration
from clinstream import running
from clinstream.embedded.home import Home
from clinstream.supervision import records
from schemas.errors import UserError

VICTIM = "imaging-infer.routine"
FOUND_AGAIN_S = 60.0
PICTURES = (".jpeg", ".jpg", ".png")


def samples() -> Path:
    """The packaged sample pack: `images/` (real objects and pictures) and `vitals/` (real stays)."""
    return Path(str(files("clinstream"))) / "samples" / "pack"


@dataclass(frozen=True, slots=True)
class Wave:
    """What one `send` said, line by line, and the file that keeps it as the sender's own list."""

    lines: Sequence[dict[str, Any]]
    kept: Path

    @property
    def accepted(self) -> int:
        """How many objects the doors acknowledged."""
        return sum(line["status"] == "accepted" for line in self.lines)


class Tour:
    """Runs the commands as a user would type them, showing each; `home` is the state folder they work on."""

    def __init__(self, home: Path, out: Console) -> None:
        self._home = home
        self._out = out

    def say(self, sentence: str) -> None:
        """A heading before a stage of the tour."""
        self._out.print(f"\n[bold]{sentence}[/bold]")

    def run(self, *words: str) -> int:
        """Runs a command with its output on the screen; the exit code."""
        self._show(words)
        return subprocess.run(self._argv(words), env=self._environment(), check=False).returncode

    def send(self, kind: str, paths: Sequence[Path], *, kill: str = "") -> Wave:
        """Sends files, keeps what the doors said, and kills the process named `kill` while they are on their way."""
        words = ("send", kind, *(str(path) for path in paths), "--json")
        self._show(words)
        with subprocess.Popen(self._argv(words), env=self._environment(), stdout=subprocess.PIPE, text=True) as sending:
            assert sending.stdout is not None
            lines = []
            for text in sending.stdout:
                lines.append(json.loads(text))
                if kill and len(lines) == 1:
                    self.kill(kill)
        if not lines:
            raise UserError(f"`clinstream send {kind}` sent nothing (exit {sending.returncode}); see above.")
        kept = self._home / "demo" / f"{kind}-{time.time_ns()}.jsonl"
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        kept.write_text("".join(json.dumps(line) + "\n" for line in lines))
        wave = Wave(lines, kept)
        self._out.print(f"{wave.accepted} of {len(lines)} accepted; the sender's list is in {kept.name}")
        for line in lines:
            if line["status"] != "accepted":
                self._out.print(f"  {Path(line['path']).name}: {line['status']}, {line['reason']}")
        return wave

    def kill(self, name: str) -> None:
        """SIGKILLs one process of ours, as a crash would; the supervisor is not told."""
        found = self._process(name)
        if found is None:
            raise UserError(f"No running process is named {name}; `clinstream status` shows what runs.")
        os.kill(found.pid, signal.SIGKILL)
        self._out.print(f"[yellow]killed {found.name} (process {found.pid}) with SIGKILL[/yellow]")
        until = time.monotonic() + FOUND_AGAIN_S
        while time.monotonic() < until:
            now = self._process(name)
            if now is not None and now.pid != found.pid:
                self._out.print(f"the supervisor started it again as process {now.pid}")
                return
            time.sleep(0.05)
        raise UserError(f"{name} was not started again within {FOUND_AGAIN_S:.0f} s; see its log in {self._home}/logs.")

    def until_all_run(self) -> None:
        """Waits until the process that was killed is back at work, although the others finished without it."""
        until = time.monotonic() + FOUND_AGAIN_S
        while time.monotonic() < until:
            components = running.read_status(Home(self._home)).get("components", [])
            if components and all(component["state"] == "ready" for component in components):
                return
            time.sleep(0.05)

    def _process(self, name: str) -> records.Record | None:
        found = records.read_all(Home(self._home).run)
        return next((r for r in found if (r.name == name or r.name.startswith(f"{name}.")) and r.alive()), None)

    def _argv(self, words: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "clinstream", *words]

    def _environment(self) -> dict[str, str]:
        return configuration.child_environment(self._home)

    def _show(self, words: Sequence[str]) -> None:
        shown = " ".join(Path(word).name if word.startswith("/") else word for word in words)
        self._out.print(f"[cyan]$ clinstream {shown}[/cyan]")


def tour(home: Path, out: Console) -> bool:
    """The whole demonstration; True only if every event that a door acknowledged has its outcome."""
    guide = Tour(home, out)
    pack = samples()
    guide.say("1. The real servers and our processes")
    if guide.run("up"):
        return False
    images = pack / "images"
    chests = sorted(images.glob("chest-*.dcm"))
    others = sorted({path for kind in (".dcm", *PICTURES) for path in images.glob(f"*{kind}")} - set(chests))
    guide.say("2. Pictures and other studies through the DICOM door; what no model is meant for is said so")
    waves = [guide.send("dicom", others)]
    guide.say("3. Real intensive-care stays through the HTTP door")
    waves.append(guide.send("vitals", [pack / "vitals"]))
    guide.say("4. Real chest X-rays, one of them from two senders, and a process killed while they are on their way")
    waves.append(guide.send("dicom", chests, kill=VICTIM))
    guide.say("5. Every acknowledged event against its outcome")
    acknowledged = home / "demo" / "acknowledged.jsonl"
    acknowledged.write_text("".join(wave.kept.read_text() for wave in waves))
    clean = guide.run("reconcile", "--acknowledged", str(acknowledged), "--wait", "180") == 0
    guide.say("6. What a clinician would see (research use only)")
    for task, most in (("chest_xray", "20"), ("icu_mortality", "5")):
        clean = guide.run("results", "--model", task, "--limit", most) == 0 and clean
    guide.until_all_run()
    clean = guide.run("status") == 0 and clean
    return clean and all(wave.accepted == len(wave.lines) for wave in waves)
