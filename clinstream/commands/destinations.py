"""`clinstream destinations`: where results of images are sent, and whether somebody is there."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from adapters import settings as settings_room

JSON = Annotated[bool, typer.Option("--json", help="For machines.")]
GROUP_HELP = "Where results of images are sent: PACS, DICOMweb and FHIR servers."


def list_destinations(as_json: JSON = False) -> None:
    """List the destinations; `default` ones get every result that no rule sends elsewhere.

    Example: clinstream destinations list
    """
    exports = settings_room.load().exports
    rows = [
        {"name": name, "kind": each.kind, "place": each.place, "default": name in exports.chosen}
        for name, each in sorted(exports.destinations.items())
    ]
    if as_json:
        print(json.dumps(rows))
        return
    if not rows:
        print("No destination is configured: results stay on the topics.")
        return
    table = Table("name", "kind", "place", "default", box=None, pad_edge=False)
    for row in rows:
        table.add_row(str(row["name"]), str(row["kind"]), str(row["place"]), "yes" if row["default"] else "no")
    Console(highlight=False).print(table)


def ask(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all of them without a name.")] = None,
    as_json: JSON = False,
) -> None:
    """Ask each destination whether it is there: C-ECHO, or a question to its HTTP address; exit 1 if one is not.

    Example: clinstream destinations test
    """
    from clinstream import leaving

    asked = leaving.chosen(settings_room.load(), list(names or []))
    rows = [(name, each.place, leaving.probe(each)) for name, each in asked.items()]
    if as_json:
        print(json.dumps([{"name": name, "place": place, "ok": not why, "why": why} for name, place, why in rows]))
    else:
        for name, place, why in rows:
            print(f"{name} ({place}): {why or 'answers'}")
    if any(why for _, _, why in rows):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(help=GROUP_HELP, no_args_is_help=True)
    group.command("list")(list_destinations)
    group.command("test")(ask)
    app.add_typer(group, name="destinations")
