"""`clinstream results`: what PostgreSQL holds, with lineage; which results are visible is decided elsewhere."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from schemas.errors import UserError

if TYPE_CHECKING:
    from adapters.database import ResultFilter, StoredResult
    from schemas.events import ResultPublished

AGO = re.compile(r"(\d+)([smhd])")
SHORT = 14
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def results(
    since: Annotated[str, typer.Option(help="A time (2026-01-31T08:00Z) or how long ago (15m, 2h, 1d).")] = "",
    model: Annotated[str, typer.Option(help="Only of this model, for example chest_xray.")] = "",
    subject: Annotated[str, typer.Option(help="Only of this pseudonymous subject (sub-...).")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    simulated: Annotated[bool, typer.Option("--simulated", help="Also results of injected data.")] = False,
    lineage: Annotated[bool, typer.Option("--lineage", help="Where each event was read, arm, epoch, batch.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, for machines, lineage included.")] = False,
) -> None:
    """List the visible results, newest first.

    Examples: clinstream results --lineage · clinstream results --since 1h --model chest_xray --json
    """
    from adapters.database import ResultFilter  # on use: the database's client costs a second of start

    wanted = ResultFilter(
        since=moment(since, datetime.now(UTC)) if since else None,
        model=model or None,
        subject=subject or None,
        limit=limit,
        simulated=simulated,
    )
    found = asyncio.run(_ask(wanted))
    if as_json:
        print(json.dumps([line(each) for each in found]))
    else:
        _show(found, lineage)


def moment(text: str, now: datetime) -> datetime:
    """The time that `text` names, RFC 3339 or an age such as 15m; UTC where it names no zone. Raises UserError."""
    if ago := AGO.fullmatch(text.strip()):
        return now - timedelta(**{UNITS[ago[2]]: int(ago[1])})
    try:
        named = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"{text!r} is no time; write 2026-01-31T08:00Z, or 15m, 2h, 1d for how long ago.") from None
    return named if named.tzinfo else named.replace(tzinfo=UTC)


def line(each: "StoredResult") -> dict[str, Any]:
    """A result as JSON: the published event with when it became visible."""
    return {
        **msgspec.to_builtins(each.result),
        "visible_at": each.visible_at.isoformat(),
        "withdrawn_at": each.withdrawn_at.isoformat() if each.withdrawn_at else None,
        "withdrawn_why": each.withdrawn_why,
    }


async def _ask(wanted: "ResultFilter") -> "list[StoredResult]":
    from adapters import settings
    from adapters.clock import SystemClock
    from adapters.database import Database

    database = Database.open(settings.load(), SystemClock())
    try:
        return await database.results(wanted)
    finally:
        await database.close()


def _show(found: "list[StoredResult]", lineage: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    console = Console(highlight=False)
    since, model, score, thing = (Column(name, no_wrap=True) for name in ("since", "model", "score", "object"))
    table = Table(since, model, "answer", score, "rev", thing, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for each in found:
        result, answer = each.result, each.result.answer
        told = answer.label + ", abstained" * answer.abstained + ", simulated" * answer.simulated
        table.add_row(
            f"{each.visible_at:%m-%d %H:%M}",
            f"{result.task} {answer.version}",
            told + ", withdrawn" * bool(each.withdrawn_at),
            f"{answer.score:.3f}",
            str(result.revision),
            shortened(result.object_id),
        )
    console.print(table)
    for each in found if lineage else ():
        console.print(_way(each.result), soft_wrap=True)
    if found:
        console.print(found[0].result.answer.notice)
    else:
        console.print(
            "No results yet. `clinstream send` brings some in; `clinstream reconcile` tells what is on its way."
        )


def shortened(object_id: str) -> str:
    """An object id that fits a line: its end tells images and readings apart; `--json` shows it whole."""
    return object_id if len(object_id) <= SHORT else f"…{object_id[-SHORT:]}"


def _way(result: "ResultPublished") -> str:
    answer = result.answer
    observed, seconds = answer.observed, answer.hops
    in_order = sorted((at, name) for name, at in seconds.items() if name != "observed")
    hops = ", ".join(f"{name} +{at - seconds['observed']:.2f} s" for at, name in in_order)
    return (
        f"{result.object_id}\n  result {result.result_id}, {result.task} {answer.version}, {answer.arm}, "
        f"epoch {answer.release_epoch}, preprocessing {answer.preprocessing_version}\n"
        f"  {observed.topic} {observed.partition}/{observed.offset}, batch of {answer.batch_size}, {hops}"
    )


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(results)
