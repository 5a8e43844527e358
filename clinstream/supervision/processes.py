"""Starts one process in a session of its own, records it, and ends it; when to do so is decided elsewhere."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from contextlib import suppress
from pathlib import Path

from clinstream.supervision import records
from clinstream.supervision.component import Command, Step
from schemas.errors import UserError

LAUNCHER = Path(__file__).with_name("launch.py")
LOG_LIMIT_BYTES = 20 << 20


async def start(command: Command) -> Process:
    """Starts the command in its own session and process group, its output appended to its log."""
    command.log.parent.mkdir(parents=True, exist_ok=True)
    _rotate(command.log)
    user = "-" if command.user is None else f"{command.user[0]}:{command.user[1]}"
    launcher = (sys.executable, "-I", "-S", str(LAUNCHER))
    orders = (str(int(command.stop_signal)), str(command.nice), user, str(os.getpid()))
    log = os.open(command.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            *launcher,
            *orders,
            *command.argv,
            env=dict(command.env),
            cwd=command.cwd,
            stdin=PIPE if command.stdin else DEVNULL,
            stdout=log,
            stderr=STDOUT,
            start_new_session=True,
        )
    except OSError as refused:
        raise UserError(f"{command.argv[0]} cannot be started: {refused.strerror}.") from None
    finally:
        os.close(log)
    if process.stdin is not None:
        # Short enough for the pipe's buffer, so nothing has to wait for the reader.
        process.stdin.write(command.stdin.encode())
        process.stdin.close()
    return process


async def stop(process: Process, stop_signal: int, timeout_s: float) -> None:
    """Ends the process: its stop signal first, SIGKILL to its whole group after `timeout_s`."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.send_signal(stop_signal)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), timeout_s)
    kill_group(process)
    await process.wait()


def kill_group(process: Process) -> None:
    """SIGKILL to what is left of the process's group: its children, when it is gone already itself."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def record(folder: Path, name: str, process: Process, command: Command, order: int, timeout_s: float) -> None:
    """Keeps on disk that the process runs, for `down` and for the next `up`."""
    started = records.started_at(process.pid)
    entry = records.Record(name, process.pid, started, order, int(command.stop_signal), timeout_s)
    records.write(folder, entry)


async def run_to_end(step: Step, folder: Path, order: int) -> None:
    """Runs a step; UserError with the end of its log when it fails or takes longer than its time."""
    process = await start(step.command)
    record(folder, step.name, process, step.command, order, 5.0)
    try:
        code = await asyncio.wait_for(process.wait(), step.timeout_s)
    except TimeoutError:
        raise UserError(f"{step.name} took longer than {step.timeout_s:.0f} s; see {step.command.log}.") from None
    finally:
        await stop(process, step.command.stop_signal, 5.0)
        records.remove(folder, step.name)
    if code != 0:
        raise UserError(f"{step.name} failed ({describe(code)}): {last_line(step.command.log)}")


def describe(code: int) -> str:
    """An exit status in words: `exit 1`, `SIGKILL`."""
    if code >= 0:
        return f"exit {code}"
    with suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def last_line(log: Path) -> str:
    """The last line of a log that is not empty, for a person; with where to read on."""
    with suppress(OSError):
        lines = [line.strip() for line in log.read_bytes()[-8192:].decode(errors="replace").splitlines()]
        filled = [line for line in lines if line]
        if filled:
            return f"{_sentence(filled[-1])[:400]} (more in {log})"
    return f"see {log}"


def _sentence(line: str) -> str:
    """A structured log line as words; any other line as it is."""
    try:
        entry = json.loads(line)
        words = [entry[name] for name in ("event", "why", "reason", "error_text") if entry.get(name)]
    except (ValueError, TypeError, AttributeError):
        return line
    return ": ".join(map(str, words)) or line


def _rotate(log: Path) -> None:
    with suppress(FileNotFoundError):
        if log.stat().st_size > LOG_LIMIT_BYTES:
            log.replace(log.with_name(log.name + ".1"))
