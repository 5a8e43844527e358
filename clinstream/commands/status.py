"""`clinstream status`: what runs, how far each lane is behind, what was put aside; for people or for machines."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from adapters import settings as settings_room
from clinstream import status as status_room

NOT_READY = 1


def status(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """Show what runs, lag and age of each lane, and dead letters. Exit 0 when all is ready, else 1.

    Examples: clinstream status · clinstream status --json
    """
    settings = settings_room.load()
    found = status_room.collect(settings)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _show(found, status_room.message(settings), Console(highlight=False))
    raise typer.Exit(0 if found["ready"] else NOT_READY)


def _show(found: dict[str, Any], message: str, out: Console) -> None:
    if not found["parts"]:
        out.print("Not running; `clinstream up` starts it.")
        return
    parts = Table("part", "state", "detail", box=None, pad_edge=False)
    for name, part in found["parts"].items():
        colour = "green" if part["state"] == "ready" else "yellow"
        parts.add_row(name, f"[{colour}]{part['state']}[/]", part["detail"])
    out.print(parts)
    if found["lanes"]:
        lanes = Table("lane", "lag", "age s", "in flight", box=None, pad_edge=False)
        for name, lane in found["lanes"].items():
            lanes.add_row(name, *(_number(lane[column]) for column in ("lag", "age_s", "in_flight")))
        out.print()
        out.print(lanes)
        dead = found["dead"]
        out.print(f"\nput aside: {_number(dead['failed'])} failed, {_number(dead['unprocessable'])} unprocessable")
    out.print("Ready." if found["ready"] else f"Not ready: {message}.")


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(status)
