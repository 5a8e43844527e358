"""`clinstream where`: follows one thing from the door to its result; finding it is in `clinstream.whereabouts`."""

import asyncio
import getpass
import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from adapters import settings as configuration
from adapters.clock import SystemClock
from adapters.database import Database
from adapters.settings import Settings
from clinstream.reconciliation import log, positions
from clinstream.whereabouts.identify import identify
from clinstream.whereabouts.way import Way, ways
from schemas import topics
from schemas.errors import SettingsError, UserError
from triton_models import discover

READ = (
    *topics.OBSERVED,
    *topics.WORK.values(),
    topics.ANSWERS,
    topics.OUTCOMES,
    topics.DEAD_FAILED,
    topics.DEAD_UNPROCESSABLE,
)


def where(
    thing: Annotated[
        str,
        typer.Argument(
            metavar="THING",
            help="Accession number, SOP or Study Instance UID, stay, patient id, event id or result id.",
        ),
    ],
    issuer: Annotated[str, typer.Option(help="Issuer of a stay or patient id, where there is one.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, for machines.")] = False,
) -> None:
    """Show one thing's whole way: stored, events, lanes, model, result, and the hop where it waits now.

    Looking up an accession number or a patient is written to the audit. Exit 1 when nothing is known of the thing.

    Examples: clinstream where 1.2.840.113619.2.1 · clinstream where 20260131-17 --json
    """
    settings = configuration.load()
    found = asyncio.run(_find(settings, thing.strip(), issuer))
    if as_json:
        print(json.dumps([way.json() for way in found]))
    elif not found:
        Console().print("Nothing is known of it: neither the doors nor the database have seen it.")
    else:
        for way in found:
            _show(way)
    raise typer.Exit(0 if found else 1)


async def _find(settings: Settings, word: str, issuer: str) -> list[Way]:
    if not word:
        raise UserError("Name what to look for.")
    try:
        key = bytes.fromhex(settings.pseudonym_key.get_secret_value())
    except ValueError:
        raise SettingsError("The pseudonym key is not hexadecimal; `clinstream up` makes one.") from None
    database = Database.open(settings, SystemClock())
    try:
        meant = await identify(database, key, word, issuer, by_whom=getpass.getuser())
    finally:
        await database.close()
    standing = positions.read(settings)
    results = [topics.results_topic(task, simulated=made) for task in discover() for made in (False, True)]
    return ways(meant, log.read(settings.kafka, [*READ, *results]), standing)


def _show(way: Way) -> None:
    console = Console(highlight=False)
    table = Table("", "", title=f"event {way.event_id}", title_justify="left", show_header=False)
    table.add_row("object", way.object_id)
    table.add_row("subject", way.subject_id)
    if way.image is not None:
        table.add_row("stored", f"{way.image.blob_uri}  ({way.image.modality or 'unknown modality'})")
        table.add_row("from", way.image.sender)
    for stop in way.stops:
        name = f"{stop.topic} {stop.task}".strip()
        table.add_row(name, f"partition {stop.partition}, offset {stop.offset}, {stop.at} {stop.reason}".strip())
    for answer in way.answers:
        hops = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in way.hops(answer).items())
        told = f"{answer.label} {answer.score:.3f}" + (" (abstained)" if answer.abstained else "")
        served = (
            f"{answer.task} {answer.version}, {answer.arm}, epoch {answer.release_epoch}, batch {answer.batch_size}"
        )
        table.add_row("answer", f"{told}; {served}; {hops}")
    for each in way.results:
        shown = f"{each.result.result_id}, revision {each.result.revision} of {each.result.task}"
        table.add_row("result", shown + (f", withdrawn: {each.withdrawn_why}" if each.withdrawn_at else ""))
    for outcome in way.outcomes:
        table.add_row("outcome", f"{outcome.task}: {outcome.fate} {outcome.reason}".strip())
    console.print(table)
    waits = way.waits
    if waits is not None:
        console.print(f"It waits in {waits.topic} for {waits.group}; {waits.before} events are before it.")
    elif not way.outcomes:
        console.print("[bold red]It has no outcome and waits nowhere; see `clinstream reconcile`.[/bold red]")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(where)
