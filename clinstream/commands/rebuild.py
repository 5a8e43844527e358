"""`clinstream rebuild`: PostgreSQL's projections from the log; how is in `clinstream.reconciliation.replay`."""

import asyncio
import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import triton_models
from adapters import pixels
from adapters import settings as configuration
from adapters.clock import SystemClock
from adapters.settings import Settings
from clinstream.reconciliation import positions
from clinstream.reconciliation.replay import Rebuilt, Replay, Tell
from schemas.errors import UserError


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
    """Make answers, visible results, outcomes and images anew from the log; nothing is published again.

    Recording waits meanwhile and goes on by itself. Rows that were committed but are not on the log yet are kept.
    Releases, the audit and the outbox are decisions and stay as they are. Tables that were dropped are made again.

    Example: clinstream rebuild
    """
    settings = configuration.load()
    console = Console(stderr=True, highlight=False)
    found = asyncio.run(
        _rebuild(settings, keep_unlogged=not only_log, identities=identities, tell=lambda what: console.print(what))
    )
    if as_json:
        print(json.dumps(asdict(found)))
    else:
        _show(found)


async def _rebuild(settings: Settings, *, keep_unlogged: bool, identities: bool, tell: Tell) -> Rebuilt:
    if not keep_unlogged and (busy := positions.active_groups(settings)):
        raise UserError(
            f"Consumers are running ({', '.join(busy)}): what they committed and have not published yet would be "
            "dropped. Stop them first (`clinstream down`, then `clinstream up --only-parts`), or leave out --only-log."
        )
    replay = Replay(settings, SystemClock(), triton_models.discover(), tell)
    if not identities:
        return await replay.run(keep_unlogged=keep_unlogged, store=None)
    store = pixels.open_store(settings.store_url)
    try:
        return await replay.run(keep_unlogged=keep_unlogged, store=store)
    finally:
        await store.close()


def _show(found: Rebuilt) -> None:
    table = Table("projection", "rows before", "rows now")
    before, after = asdict(found.before), asdict(found.after)
    for name, number in after.items():
        table.add_row(name + (" (made again)" if name in found.remade else ""), str(before[name]), str(number))
    console = Console(highlight=False)
    console.print(table)
    if found.unread:
        console.print(f"{found.unread} records are no events of ours; they lie in the dead letters.")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(rebuild)
