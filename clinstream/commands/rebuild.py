"""`clinstream rebuild`: PostgreSQL's projections from the log; how is in `clinstream.reconciliation.replay`."""

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from adapters import settings as settings_room

if TYPE_CHECKING:
    from clinstream.reconciliation.replay import Rebuilt


def rebuild(
    only_log: Annotated[
        bool,
        typer.Option("--only-log", help="Also drop rows that the log does not hold; needs the consumers stopped."),
    ] = False,
    identities: Annotated[
        bool, typer.Option("--identities", help="Also read studies and patients from the stored images again.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Make answers, results, outcomes, images, readings and assessments anew from the log; nothing is published again.

    Objects of the log that the ledger of studies lacks are noted there again, with their headers; `study rebuild`
    looks at those that it has, too.
    Recording waits meanwhile and goes on by itself. Rows that were committed but are not on the log yet are kept.
    Releases, the audit and the outbox are decisions and stay as they are. Tables that were dropped are made again.

    Example: clinstream rebuild
    """
    from clinstream import restudy
    from clinstream.reconciliation.replay import rebuild as run  # on use: the database's client takes a second

    console = Console(stderr=True, highlight=False)
    found = run(keep_unlogged=not only_log, identities=identities, tell=lambda what: console.print(what))
    console.print("studies")
    studied = asyncio.run(restudy.again(settings_room.load(), lambda _: None, absent_only=True))
    if as_json:
        print(json.dumps({**asdict(found), "studied": studied}))
    else:
        _show(found, studied)


def _show(found: "Rebuilt", studied: int) -> None:
    table = Table("projection", "rows before", "rows now")
    before, after = asdict(found.before), asdict(found.after)
    for name, number in after.items():
        table.add_row(name + (" (made again)" if name in found.remade else ""), str(before[name]), str(number))
    console = Console(highlight=False)
    console.print(table)
    if studied:
        console.print(f"{studied} objects were noted in the ledger of studies again.")
    if found.unread:
        console.print(f"{found.unread} records are no events of ours; they lie in the dead letters.")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(rebuild)
