"""`clinstream reconcile`: every acknowledged event against what became of it; the counting is in its own room."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import triton_models
from adapters import settings as configuration
from adapters.clock import SystemClock
from adapters.database import Database
from adapters.settings import Settings
from clinstream.reconciliation import acknowledged as sender_list
from clinstream.reconciliation.count import count_when_quiet
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
        typer.Option(help="The sender's own list: lines of `send --json`, or event ids or SOP Instance UIDs."),
    ] = None,
    wait: Annotated[float, typer.Option(min=0, help="Wait at most so many seconds until nothing is in flight.")] = 0.0,
    home: Annotated[Path | None, typer.Option(help="The installation's state folder.")] = None,
) -> None:
    """Hold every acknowledged event against its outcome; exit 1 when one is lost or a result is visible twice.

    Examples: clinstream reconcile --wait 60 · clinstream reconcile --acknowledged sent.jsonl --json
    """
    settings = configuration.load(home)
    names = None if acknowledged is None else sender_list.names(acknowledged.read_text().splitlines())
    report = asyncio.run(_count(settings, names, wait))
    if as_json:
        print(json.dumps(report.json()))
    else:
        _show(report)
    raise typer.Exit(0 if report.clean else 1)


async def _count(settings: Settings, names: Sequence[str] | None, wait_s: float) -> Report:
    clock = SystemClock()
    database = Database.open(settings, clock)
    try:
        tasks = sorted(triton_models.discover())
        return await count_when_quiet(settings, database, tasks, names, clock, wait_s=wait_s)
    finally:
        await database.close()


def _show(report: Report) -> None:
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
