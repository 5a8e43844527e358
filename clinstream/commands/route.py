"""`clinstream route`: where an object goes and which row of the routing table says so; the table is elsewhere."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from clinstream.routes import Explained

GROUP_HELP = "The routing table: lane, models and destinations of an object."
IDENTITY = {
    "no": "stored as sent",
    "basic": "taken off (basic profile)",
    "characteristics": "taken off (basic profile; sex, age, size, weight stay)",
}
PRIORITIES = {"low": 2, "medium": 0, "high": 1}


def explain(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A DICOM file.")],
    calling_ae: Annotated[str, typer.Option(help="As this application entity would send it.")] = "",
    called_ae: Annotated[str, typer.Option(help="To this AE title of the door.")] = "",
    priority: Annotated[str, typer.Option(help="C-STORE priority: low, medium or high.")] = "medium",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Show which row fires for an object, and why the others do not; nothing is sent.

    Examples: clinstream route explain hand.dcm --calling-ae ER_1 · clinstream route explain hand.dcm --json
    """
    from adapters import settings as settings_room
    from clinstream import routes  # on use: the models bring numpy along
    from schemas.errors import UserError

    if priority not in PRIORITIES:
        raise UserError(f"There is no C-STORE priority {priority!r}; there are low, medium and high.")
    settings = settings_room.load()
    found = routes.explain(
        settings,
        file,
        calling_ae=calling_ae,
        called_ae=called_ae or settings.doors.dicom_ae_title,
        priority=PRIORITIES[priority],
    )
    if as_json:
        print(json.dumps(_json(found)))
        return
    _show(found)


def _json(found: "Explained") -> dict[str, Any]:
    return {
        "lane": found.route.lane,
        "tasks": found.route.tasks,
        "destinations": found.route.destinations,
        "deidentify": found.route.deidentify,
        "rows": [
            {"row": read.row.name, "fired": bool(read.decided), "decided": list(read.decided), "why": read.why}
            for read in found.reads
        ],
        "models": [{"task": each.task, "fate": each.fate, "why": each.why} for each in found.models],
    }


def _show(found: "Explained") -> None:
    from rich.console import Console
    from rich.table import Column, Table

    route = found.route
    tasks = "what the cards claim" if route.tasks is None else ", ".join(route.tasks) or "none"
    places = "the usual ones" if route.destinations is None else ", ".join(route.destinations) or "none"
    print(f"lane {route.lane} · models: {tasks} · destinations: {places} · identity: {IDENTITY[route.deidentify]}")
    rows = Table("row", "", Column("why", overflow="fold"), box=None, pad_edge=False)
    for read in found.reads:
        rows.add_row(read.row.name, f"fires: {', '.join(read.decided)}" if read.decided else "no", read.why)
    Console(highlight=False).print(rows)
    for each in found.models:
        print(f"{each.task}: {each.fate}{f', {each.why}' if each.why else ''}")


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(help=GROUP_HELP, pretty_exceptions_enable=False, no_args_is_help=True)
    group.callback()(lambda: None)
    group.command()(explain)
    app.add_typer(group, name="route")
