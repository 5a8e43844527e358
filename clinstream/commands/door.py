"""`clinstream door`: what happened at the DICOM door, and how it bears damage; the door itself is in `producers`."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from adapters.database import DoorEntry, DoorFilter

GROUP_HELP = "The DICOM door: its journal of associations, and what damage does to it."


def journal(
    since: Annotated[str, typer.Option(help="A time (2026-01-31T08:00Z) or how long ago (15m, 2h, 1d).")] = "",
    sender: Annotated[str, typer.Option(help="Only of this calling AE title.")] = "",
    refused: Annotated[bool, typer.Option("--refused", help="Only where something was refused or broke off.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, for machines.")] = False,
) -> None:
    """List associations: who called, what came, and why anything was refused. No patient data is kept in it.

    Examples: clinstream door journal · clinstream door journal --refused --since 1d --json
    """
    from adapters.database import DoorFilter  # on use: the database's client costs a second of start
    from clinstream.commands.results import moment

    wanted = DoorFilter(
        since=moment(since, datetime.now(UTC)) if since else None, sender=sender or None, refused=refused, limit=limit
    )
    found = asyncio.run(_ask(wanted))
    if as_json:
        print(json.dumps([_line(each) for each in found]))
    else:
        _show(found)


def fuzz(
    folder: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="DICOM files to damage.")],
    mutations: Annotated[int, typer.Option(min=1, help="How many damaged objects.")] = 5_000,
    seed: Annotated[int, typer.Option(help="The same seed and files: the same damage.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Damage DICOM files by seed and hold the door's code to a defined answer for each; exit 1 where there is none.

    Runs in this process: no stack, nothing is sent or kept.

    Example: clinstream door fuzz dicom/ --mutations 100000 --seed 7
    """
    from clinstream import fuzzing

    found = fuzzing.fuzz(fuzzing.requests_of(folder), seed, mutations)
    told = {
        "seed": found.seed,
        "mutations": found.mutations,
        "statuses": dict(sorted(found.statuses.items())),
        "undefined": found.undefined,
        "slowest_s": round(found.slowest_s, 4),
        "memory_grown_mb": round(found.grown_bytes / 1e6, 1),
    }
    if as_json:
        print(json.dumps(told))
    else:
        print(f"{found.mutations} damaged objects of seed {found.seed}: {_counts(told['statuses'])}")
        print(f"slowest {told['slowest_s']} s, memory grown by {told['memory_grown_mb']} MB")
        for each in found.undefined:
            print(f"no defined answer: {each}")
    if found.undefined:
        raise typer.Exit(1)


async def _ask(wanted: "DoorFilter") -> "list[DoorEntry]":
    from adapters import settings
    from adapters.clock import SystemClock
    from adapters.database import Database

    database = Database.open(settings.load(), SystemClock())
    try:
        return await database.associations(wanted)
    finally:
        await database.close()


def _line(each: "DoorEntry") -> dict[str, Any]:
    return {
        "association_id": str(each.association_id),
        "door": each.door,
        "sender": each.sender,
        "called": each.called,
        "address": each.address,
        "began_at": each.began_at.isoformat(),
        "seconds": each.seconds,
        "ended": each.ended,
        "received_bytes": each.received_bytes,
        "statuses": each.statuses,
        "reasons": each.reasons,
        "sop_classes": each.sop_classes,
        "transfer_syntaxes": each.transfer_syntaxes,
    }


def _show(found: "list[DoorEntry]") -> None:
    from rich.console import Console
    from rich.table import Column, Table

    if not found:
        print("No association is in the journal; an entry appears moments after its association ended.")
        return
    columns = ("began", "sender", "called", "from", "ended", "MB", "statuses")
    table = Table(*columns, Column("reasons", overflow="fold"), box=None, pad_edge=False)
    for each in found:
        table.add_row(
            f"{each.began_at:%m-%d %H:%M:%S}",
            each.sender,
            each.called,
            each.address,
            each.ended,
            f"{each.received_bytes / 1e6:.1f}",
            _counts(each.statuses),
            _counts(each.reasons),
        )
    Console(highlight=False).print(table)


def _counts(counts: Any) -> str:
    return ", ".join(f"{number} × {what}" for what, number in counts.items())


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(help=GROUP_HELP, pretty_exceptions_enable=False, no_args_is_help=True)
    group.callback()(lambda: None)
    group.command()(journal)
    group.command()(fuzz)
    app.add_typer(group, name="door")
