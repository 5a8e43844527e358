"""Processes that the worker starts for what is heavy: training and judging, and the registry's client."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
TAIL_BYTES = 2000
END_S = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its exit code (negative: the signal) and the last lines that it said."""

    code: int
    said: str


async def run(action: str, order: Path, log: Path) -> Ended:
    """Runs `python -m training <action> <order>` to its end on one thread, as nice as the worker.

    `log` takes what it says. Cancelling ends the child first.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "training",
            action,
            str(order),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env={**os.environ, **ONE_THREAD},
        )
        try:
            code = await child.wait()
        except asyncio.CancelledError:
            await _end(child)
            raise
    return Ended(code, await asyncio.to_thread(_tail, log))


def _tail(log: Path) -> str:
    return log.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip()


async def _end(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        child.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(child.wait(), END_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
