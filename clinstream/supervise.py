"""The supervisor's own process, `python -m clinstream.supervise`: draws up the plan and runs it to its end."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from adapters import settings as settings_room
from clinstream import stack
from clinstream.embedded import claims, triton
from clinstream.embedded.home import Home
from clinstream.supervision import lock, records
from clinstream.supervision.supervisor import STATUS, Supervisor
from schemas.errors import Conflict, UserError

CONFLICT = 3


def main(
    home: Path,
    part: Annotated[list[str], typer.Option()] = list(stack.PARTS),  # noqa: B006 - typer copies it
    port: Annotated[list[str], typer.Option()] = [],  # noqa: B006 - typer copies it
    services: bool = True,
) -> None:
    """Brings up `part`s and, unless --no-services, our processes; stays until SIGTERM or SIGINT."""
    place = Home(home)
    place.make()
    try:
        with lock.Lock(place.run):
            raise SystemExit(0 if _serve(place, part, _wishes(port), services) else 1)
    except Conflict as other:
        sys.stderr.write(f"{other}\n")
        raise SystemExit(CONFLICT) from None


def _serve(home: Home, parts: list[str], wished: dict[str, int], services: bool) -> bool:
    # What an earlier supervisor left behind when it was killed (the kernel has signalled it; see launch.py).
    records.stop_all(home.run, records.read_all(home.run))
    try:
        plan = stack.draw_up(home, parts, wished, services=services)
    except UserError as failure:
        failed = {"pid": os.getpid(), "phase": "failed", "message": str(failure), "components": []}
        (home.run / STATUS).write_text(json.dumps(failed))
        return False

    async def run() -> bool:
        return await Supervisor(home.run, plan.components, plan.prepare, plan.notes).run()

    try:
        return asyncio.run(run())
    finally:
        triton.sweep(home)
        claims.release(settings_room.load(home.folder).cache)


def _wishes(given: list[str]) -> dict[str, int]:
    return {name: int(number) for name, _, number in (wish.partition("=") for wish in given)}


if __name__ == "__main__":
    typer.run(main)
