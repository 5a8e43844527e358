"""The guided tour of `clinstream demo`: the user's own commands, one killed process, and the count; no shortcuts.

How each act is shown is here; what the acts are, and in which order, is in `tour`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

import triton_models
from adapters import settings as configuration
from clinstream import demonstration, running, samples
from clinstream.demonstration import CLINICIAN, TASK
from clinstream.embedded.home import Home
from clinstream.supervision import records
from schemas.errors import UserError

VICTIM = "imaging-infer.routine"
FOUND_AGAIN_S = 60.0
PICTURES = (".jpeg", ".jpg", ".png")
STARTER = triton_models.HOME / TASK / "starter"
CORRECTIONS = 20
"""How many corrections make the demonstration retrain; a card asks for more."""

RUN_ENDS_S = 600.0
LOOK_S = 1.0
ENDED = frozenset({"REGISTERED", "REJECTED", "FAILED"})


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

    def tell(self, sentence: str) -> None:
        """A line under a heading."""
        self._out.print(sentence)

    def run(self, *words: str) -> int:
        """Runs a command with its output on the screen; the exit code."""
        self._show(words)
        return subprocess.run(self._argv(words), env=self._environment(), check=False).returncode

    def ask(self, *words: str, show: bool = False) -> Any:
        """What a command prints with --json; raises UserError when it fails."""
        if show:
            self._show((*words, "--json"))
        done = subprocess.run(
            self._argv([*words, "--json"]), env=self._environment(), check=False, capture_output=True, text=True
        )
        if done.returncode:
            raise UserError(f"`clinstream {' '.join(words[:2])}` failed: {done.stderr.strip() or done.stdout.strip()}")
        return json.loads(done.stdout)

    def send(self, kind: str, *words: str, kill: str = "") -> Wave:
        """Sends files, keeps what the doors said, and kills the process named `kill` while they are on their way."""
        argv = ("send", kind, *words, "--json")
        self._show(argv)
        with subprocess.Popen(self._argv(argv), env=self._environment(), stdout=subprocess.PIPE, text=True) as sending:
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

    def until_run_ends(self, known: set[str]) -> dict[str, Any]:
        """Waits for the training run that is not among `known` and returns its row; shows how far it is."""
        until, shown = time.monotonic() + RUN_ENDS_S, ""
        with self._out.status("waiting for the training run") as status:
            while time.monotonic() < until:
                rows = [row for row in self.ask("models", "runs") if row["request_id"] not in known]
                stage = f"{rows[0]['state']} {rows[0]['stage']}" if rows else "asked for"
                if stage != shown:
                    status.update(f"training run: {stage}")
                    self._out.print(f"training run: {stage}")
                    shown = stage
                if rows and rows[0]["state"] in ENDED:
                    found: dict[str, Any] = rows[0]
                    return found
                time.sleep(LOOK_S)
        raise UserError(f"The training run did not end within {RUN_ENDS_S:.0f} s; see logs/trainer.0.log.")

    def _process(self, name: str) -> records.Record | None:
        found = records.read_all(Home(self._home).run)
        return next((r for r in found if (r.name == name or r.name.startswith(f"{name}.")) and r.alive()), None)

    def _argv(self, words: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", "clinstream", *words]

    def _environment(self) -> dict[str, str]:
        return {
            **configuration.child_environment(self._home),
            # Base data of the packaged samples, and a window that the demonstration can fill.
            "CLINSTREAM_TRAINING_DATA": str(samples.PACK),
            "CLINSTREAM_RETRAIN_AFTER": json.dumps({TASK: CORRECTIONS}),
        }

    def _show(self, words: Sequence[str]) -> None:
        shown = " ".join(Path(word).name if word.startswith("/") else word for word in words)
        self._out.print(f"[cyan]$ clinstream {shown}[/cyan]")


def tour(home: Path, out: Console) -> bool:
    """The whole demonstration; True only if every event that a door acknowledged has its outcome."""
    guide = Tour(home, out)
    ran_before = running.is_running(Home(home))
    guide.say("1. The real servers and our processes")
    if guide.run("up"):
        return False
    guide.say("2. A weak version to begin with: trained on a tenth of the packaged stays")
    first_time = False
    if ran_before:
        guide.tell("The stack ran already, with settings of its own: for the learning loop, `clinstream down` first.")
    else:
        first_time = begin_weak(guide)
    waves = send_all(guide)
    guide.say("7. Every acknowledged event against its outcome")
    acknowledged = home / "demo" / "acknowledged.jsonl"
    acknowledged.write_text("".join(wave.kept.read_text() for wave in waves))
    clean = guide.run("reconcile", "--acknowledged", str(acknowledged), "--wait", "180") == 0
    guide.say("8. What a clinician would see (research use only)")
    for task, most in (
        ("chest_xray", "20"),
        ("otoscope_screening", "8"),
        ("otoscope_diagnosis", "8"),
        ("glucose", "4"),
    ):
        clean = guide.run("results", "--model", task, "--limit", most) == 0 and clean
    clean = guide.run("results", "--model", TASK, "--limit", "5") == 0 and clean
    guide.say("9. The loop closes: a clinician corrects, a run learns, a gate judges, a person approves")
    if first_time:
        clean = close_loop(guide, waves[-2]) and clean
    else:
        guide.tell("Not this time: `clinstream models runs` shows what was learnt on this state before.")
    guide.until_all_run()
    clean = guide.run("status") == 0 and clean
    return clean and all(wave.accepted == len(wave.lines) for wave in waves)


def begin_weak(guide: Tour) -> bool:
    """Releases the packaged weak version of the stays' model; False when this state has seen it before."""
    if any(row["name"] == TASK and row["source"] != "packaged" for row in guide.ask("models", "list")):
        guide.tell("This state has trained versions already.")
        return False
    metadata = json.loads((STARTER / "metadata.json").read_text(encoding="utf-8"))
    version = metadata["version"]
    guide.run("models", "register", TASK, "--from", str(STARTER), "--why", "the demonstration begins weak")
    guide.run("models", "approve", TASK, version, "--by", CLINICIAN, "--why", "the demonstration begins weak")
    guide.run("models", "promote", TASK, version, "--by", CLINICIAN, "--why", "the demonstration begins weak")
    return True


def send_all(guide: Tour) -> list[Wave]:
    """All four kinds of event through their doors; the stays are the last but one."""
    chests = sorted(samples.IMAGES.glob("chest-*.dcm"))
    others = sorted({path for kind in (".dcm", *PICTURES) for path in samples.IMAGES.glob(f"*{kind}")} - set(chests))
    guide.say("3. Pictures and other studies through the DICOM door; what no model is meant for is said so")
    waves = [guide.send("dicom", *map(str, others))]
    guide.say("4. Photographs of ears: screened first, then the question of what it is")
    waves.append(guide.send("otoscope", str(samples.OTOSCOPE)))
    guide.say("5. Two wearers' glucose readings, moved to now: forecasts from the newest, the older ones kept")
    for path in sorted(samples.CGM.glob("*.csv")):
        waves.append(guide.send("cgm", str(path), "--wearer", f"demo {path.stem}", "--shift-to-now"))
    guide.say("6. Real intensive-care stays over HTTP, then chest X-rays, one from two senders, and a process killed")
    waves.append(guide.send("vitals", str(samples.VITALS)))
    waves.append(guide.send("dicom", *map(str, chests), kill=VICTIM))
    return waves


def close_loop(guide: Tour, stays: Wave) -> bool:
    """Corrects what became of the stays otherwise and follows the run to its end; a gate that rejects is a good end."""
    known = {row["request_id"] for row in guide.ask("models", "runs")}
    events = {line["event_id"] for line in stays.lines}
    results = guide.ask("results", "--model", TASK, "--limit", "1000")
    wrong = demonstration.corrections(stays.lines, [row for row in results if row["answer"]["event_id"] in events])
    guide.tell(f"{len(wrong)} of {len(events)} answers were not what became of the stay; {CORRECTIONS} make a run.")
    for place, each in enumerate(wrong[:CORRECTIONS]):
        words = ("override", each.result_id, "--label", each.label, "--by", CLINICIAN)
        guide.ask(*words, "--idempotency-key", f"demo {each.result_id}", show=place < 2)
        if place == 2:
            guide.tell("  ... and so on, one command each")
    if len(wrong) < CORRECTIONS:
        guide.tell("Too few for a run.")
        return False
    run = guide.until_run_ends(known)
    guide.tell(f"The run ended as {run['state']}: {run['why']}")
    if run["state"] != "REGISTERED":
        guide.tell("The version that served goes on serving: that is what a gate is for.")
        return bool(run["state"] == "REJECTED")
    why = "better on the frozen hold-out"
    if guide.run("models", "approve", TASK, run["version"], "--by", CLINICIAN, "--why", why):
        return False
    if guide.run("models", "promote", TASK, run["version"], "--by", CLINICIAN, "--why", "approved"):
        return False
    guide.tell("What a monitor sends now is answered by the new version, and no process was started anew:")
    guide.send("vitals", str(demonstration.measured_now(stays.kept.parent)), "--wait")
    shown = guide.run("results", "--model", TASK, "--limit", "3", "--lineage")
    return shown == 0 and guide.run("models", "list") == 0
