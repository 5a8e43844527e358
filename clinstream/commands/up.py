"""`clinstream up`: checks and brings what is missing, starts the stack, says when it is ready."""

import socket
import time
from typing import Annotated, Any

import typer
from rich.console import Console

from adapters import settings as settings_room
from adapters.settings import Settings
from clinstream import running, stack
from clinstream.commands import setup
from clinstream.embedded import toolchain
from clinstream.embedded.home import Home
from schemas.errors import Conflict, UserError

INTERRUPTED = 130


def up(
    foreground: Annotated[
        bool, typer.Option("--foreground/--detach", help="Stay, and stop everything on Ctrl-C.")
    ] = False,
    only_parts: Annotated[
        bool, typer.Option("--only-parts", help="Kafka, PostgreSQL, Redis and Triton without our processes.")
    ] = False,
    part: Annotated[
        list[str] | None, typer.Option(help="With --only-parts: just this server; can be repeated.")
    ] = None,
    port: Annotated[
        list[str] | None,
        typer.Option(help="NAME=NUMBER, for example dicom=11112, http=8080, kafka=9092; can be repeated."),
    ] = None,
) -> None:
    """Start the whole stack and wait until it is ready.

    Servers with an address in CLINSTREAM_{KAFKA,DATABASE,REDIS,TRITON}_URL are used, the others are started.

    Examples: clinstream up · clinstream up --port dicom=11112 · clinstream up --foreground
    """
    settings = settings_room.load()
    home = Home(settings.home)
    out = Console(highlight=False, soft_wrap=True)
    home.make()
    if running.is_running(home):
        out.print(_already(home))
        return
    ports = [_checked_port(wish) for wish in port or []]
    parts = _checked_parts(part, only_parts)
    check(settings, parts, out)
    # From here on a process of ours may be running, so Ctrl-C is counted and acted upon instead of raised.
    with running.counted_interrupts() as interrupts:
        began = time.monotonic()
        process = running.start(home, parts=parts, ports=ports, services=not only_parts, bound_to_us=foreground)
        try:
            ready = running.follow(home, process, interrupts, Progress(out, began))
        except Conflict:
            out.print(_already(home))
            return
        if ready:
            _say_ready(settings_room.load(), only_parts, time.monotonic() - began, out)
        if ready and foreground:
            ready = running.stay(process, interrupts)
    if not ready:
        out.print("Stopped; nothing is left running.")
        raise typer.Exit(INTERRUPTED)


def check(settings: Settings, parts: list[str], out: Console) -> None:
    """Everything that can be known before a start: programs, downloads, external servers. Raises UserError."""
    own = stack.own_parts(parts)
    lacking = toolchain.missing(settings.cache, own)
    fixed = [lack for lack in lacking if not lack.downloadable]
    if fixed:
        raise UserError("; ".join(f"{lack.what}: {lack.remedy}" for lack in fixed) + ".")
    if lacking:
        setup.bring(settings, own, out)
    for part in parts:
        if part not in own:
            _check_external(settings, part)


def _check_external(settings: Settings, part: str) -> None:
    host, port = stack.address(settings, part)
    try:
        socket.create_connection((host, port), timeout=5.0).close()
    except OSError as refused:
        variable = f"CLINSTREAM_{part.upper()}_URL"
        raise UserError(
            f"The external {part} at {host}:{port} does not answer ({refused.strerror or refused}); "
            f"start it, correct {variable}, or unset it to have one started here."
        ) from None


def _checked_parts(part: list[str] | None, only_parts: bool) -> list[str]:
    for name in part or []:
        if name not in stack.PARTS:
            raise UserError(f"There is no part named {name}; choose from: {', '.join(stack.PARTS)}.")
    if part and not only_parts:
        raise UserError("--part goes with --only-parts: our processes need all four servers.")
    return list(part or stack.PARTS)


def _checked_port(wish: str) -> str:
    name, _, number = wish.partition("=")
    if not name or not number.isdigit():
        raise UserError(f"--port {wish} is not NAME=NUMBER, for example dicom=11112.")
    return wish


def _already(home: Home) -> str:
    return (
        f"Already running, with its state in {home.folder}; `clinstream status` shows it, `clinstream down` stops it."
    )


def _say_ready(settings: Settings, only_parts: bool, seconds: float, out: Console) -> None:
    out.print(f"Ready in {seconds:.0f} s, state in {settings.home}.")
    if not only_parts:
        doors = settings.doors
        out.print(f"DICOM  {doors.dicom_ae_title}@{doors.dicom_host}:{doors.dicom_port}")
        out.print(f"HTTP   http://{doors.http_host}:{doors.http_port}")
        out.print(f"Asking http://{doors.predictions_host}:{doors.predictions_port}/api/predictions/glucose")
        out.print("Next: `clinstream send dicom FILE --wait`, `clinstream status`, `clinstream down`.")


class Progress:
    """Prints each component once when it becomes ready or dies, with the seconds since the start."""

    def __init__(self, out: Console, began: float) -> None:
        self._out = out
        self._began = began
        self._told: set[tuple[str, ...]] = set()

    def __call__(self, status: dict[str, Any]) -> None:
        for note in status.get("notes", []):
            self._once(("note", note), note)
        for part in status["components"]:
            if part["state"] == "ready":
                self._once((part["name"], "ready"), f"{part['name']} is ready")
            elif part["last_exit"]:
                said = f"{part['name']} ended ({part['last_exit']}), starting it again"
                self._once((part["name"], str(part["restarts"])), said)

    def _once(self, key: tuple[str, ...], sentence: str) -> None:
        if key not in self._told:
            self._told.add(key)
            self._out.print(f"[dim]{time.monotonic() - self._began:5.1f} s[/dim]  {sentence}")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(up)
