"""`clinstream contract`: the published event contracts; the rules of compatibility are in `schemas.compatibility`."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from clinstream import contracts

app = typer.Typer(help="The published contracts of events.", no_args_is_help=True)


@app.command()
def schemas(
    write: Annotated[bool, typer.Option("--write", help="Write golden schemas of compatible additions.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Hold every event against its golden JSON Schema; exit 1 when one is broken or not written yet.

    Example: clinstream contract schemas --write
    """
    if write:
        contracts.write()
    verdicts = contracts.judge()
    if as_json:
        print(json.dumps([{"event": v.event, "state": v.state, "breaks": list(v.breaks)} for v in verdicts]))
    else:
        table = Table("event", "state", "what breaks")
        for verdict in verdicts:
            table.add_row(verdict.event, verdict.state, "; ".join(verdict.breaks))
        Console().print(table)
    raise typer.Exit(0 if all(v.state == "same" for v in verdicts) else 1)


def register(main: typer.Typer) -> None:
    """Adds the group."""
    main.add_typer(app, name="contract")
