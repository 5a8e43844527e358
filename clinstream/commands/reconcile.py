"""`clinstream reconcile`: every acknowledged event against what became of it; the counting is in its own room."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from clinstream.reconciliation.tally import Report

SHOWN = 20

MEANING = {
    "accepted": "events that the doors acknowledged",
    "answered": "the visible result answers the event",
    "refused": "outside the intended use, or refused for quality",
    "not_applicable": "no model is meant for it",
    "duplicate_of": "the same content already had a result",
    "dead": "put aside; see `clinstream dead list`",
    "in_flight": "still on its way",
    "lost": "acknowledged, not on its way, and without an outcome",
    "duplicates": "contents with more than one visible result",
}


def reconcile(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
    acknowledged: Annotated[
        Path | None,
        typer.Option(
            help="The sender's own list: lines of `send --json`, or event ids or SOP Instance UIDs.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    wait: Annotated[float, typer.Option(min=0, help="Wait at most so many seconds until nothing is in flight.")] = 0.0,
    home: Annotated[Path | None, typer.Option(help="The installation's state folder.")] = None,
) -> None:
    """Hold every acknowledged event against its outcome; exit 1 when one is lost or a result is visible twice.

    Examples: clinstream reconcile --wait 60 · clinstream reconcile --acknowledged sent.jsonl --json
    """
    from clinstream.reconciliation.ask import ask  # on use: the database's client costs a second of start

    report = ask(home, acknowledged, wait)
    if as_json:
        print(json.dumps(report.json()))
    else:
        _show(report)
    raise typer.Exit(0 if report.clean else 1)


def _show(report: "Report") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("events", "", "meaning")
    found = report.json()
    for name, meaning in MEANING.items():
        table.add_row(name, str(found[name]), meaning)
    console.print(table)
    for id in report.lost[:SHOWN]:
        console.print(f"[bold red]lost[/bold red] {id}")
    for thing, _, task in report.doubled[:SHOWN]:
        console.print(f"[bold red]visible twice[/bold red] {thing} for {task}")
    if len(report.lost) > SHOWN:
        console.print(f"... and {len(report.lost) - SHOWN} more; `--json` lists them")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(reconcile)
