"""`clinstream backup`: everything into a folder; what is copied and how is in `clinstream.backups`."""

import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from schemas.errors import UserError

if TYPE_CHECKING:
    from clinstream.embedded.home import Home


def backup(
    folder: Annotated[Path, typer.Argument(help="An empty folder, or one to be made.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Copy Kafka's log, PostgreSQL, pixels, secrets and settings, with a SHA-256 of every file.

    A running stack is stopped for the copy and started again: the doors tell senders to try again meanwhile. The
    folder then holds patient data and passwords, readable by you only; keep it like that.

    Example: clinstream backup /backup/2026-01-31
    """
    # On use: every other command would wait for these.
    from adapters import settings as configuration
    from adapters.clock import SystemClock
    from clinstream import running
    from clinstream.backups import copying, places
    from clinstream.embedded.home import Home

    home = Home(configuration.load().home)
    if not home.folder.exists():
        raise UserError(f"There is no installation in {home.folder}.")
    places.refuse_external(home)
    target = folder.expanduser().resolve()
    copying.check_target(home, target)
    console = Console(stderr=True, highlight=False)
    ran = _components(home)
    if ran:
        console.print("Stopping the stack for the copy.")
        running.take_down(home)
    try:
        contents = copying.back_up(home, target, SystemClock(), _release())
    finally:
        if ran:
            console.print("Starting the stack again.")
            _start(home, ran)
    if as_json:
        print(json.dumps({"folder": str(folder), "files": len(contents.files), "bytes": contents.size}))
    else:
        console.print(f"{len(contents.files)} files, {contents.size / 1e6:.1f} MB in {folder}.")
        console.print(f"Back again: CLINSTREAM_HOME=EMPTY_FOLDER clinstream restore {folder}")


def _components(home: "Home") -> list[dict[str, Any]]:
    """What runs now, as the supervisor's status lists it."""
    from clinstream import running

    return list(running.read_status(home).get("components", [])) if running.is_running(home) else []


def _start(home: "Home", ran: list[dict[str, Any]]) -> None:
    from clinstream import running

    parts = [part["name"] for part in ran if part["kind"] == "part"]
    services = any(part["kind"] == "service" for part in ran)
    with running.counted_interrupts() as interrupts:
        process = running.start(home, parts=parts, ports=(), services=services, bound_to_us=False)
        running.follow(home, process, interrupts, tell=lambda status: None)


def _release() -> str:
    try:
        return version("clinstream")
    except PackageNotFoundError:
        return "unknown"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(backup)
