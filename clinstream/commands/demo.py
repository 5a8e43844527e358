"""`clinstream demo`: from nothing to results on the screen; the tour itself is in `clinstream.demo`."""

from typing import Annotated

import typer
from rich.console import Console

from adapters import settings as configuration
from clinstream import demo as room
from clinstream import running
from clinstream.embedded.home import Home


def demo(
    stop: Annotated[bool, typer.Option("--stop/--keep", help="Stop the stack at the end.")] = False,
) -> None:
    """Start the stack, send real samples through the real doors, kill a process, count, and show the results.

    Exit 0 only if every event that was sent has its outcome. The stack keeps running unless --stop is given.

    Examples: clinstream demo · CLINSTREAM_HOME=/tmp/try clinstream demo --stop
    """
    out = Console(highlight=False)
    home = configuration.load().home.absolute()
    good = False
    try:
        good = room.tour(home, out)
    finally:
        if stop:
            running.take_down(Home(home))
    if good:
        out.print("\n[green]Every event that was sent has its outcome.[/green]")
    else:
        out.print("\n[red]Something above did not end as it should; the logs are in[/red]", str(home / "logs"))
    if not stop:
        out.print(
            "\nWhere to look next:\n"
            "  clinstream results --json          results with their lineage\n"
            "  clinstream where SOP_UID           one object's whole way\n"
            "  clinstream dead list               what was put aside, and why\n"
            "  clinstream models show chest_xray  what the model is for, and its limits\n"
            "  clinstream down                    stops everything (make down)"
        )
    raise typer.Exit(0 if good else 1)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(demo)
