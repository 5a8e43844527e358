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

AGO = re.compile(r"(\d+)([smhd])")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def results(
    since: Annotated[str, typer.Option(help="A time (2026-01-31T08:00Z) or how long ago (15m, 2h, 1d).")] = "",
    model: Annotated[str, typer.Option(help="Only of this model, for example chest_xray.")] = "",
    subject: Annotated[str, typer.Option(help="Only of this pseudonymous subject (sub-...).")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    simulated: Annotated[bool, typer.Option("--simulated", help="Also results of injected data.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, for machines.")] = False,
) -> None:
    """List the visible results with their lineage, newest first.

    Examples: clinstream results · clinstream results --since 1h --model chest_xray --json
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
        _show(found)


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


def _show(found: "list[StoredResult]") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("visible since", "model", "answer", "score", "rev", "took", "object, where it was read, result id")
    for each in found:
        result, answer = each.result, each.result.answer
        told = answer.label + ", abstained" * answer.abstained + ", simulated" * answer.simulated
        took = answer.hops.get("recorded", answer.hops["inferred"]) - answer.hops["observed"]
        read = f"{answer.observed.topic} {answer.observed.partition}/{answer.observed.offset}"
        table.add_row(
            f"{each.visible_at:%m-%d %H:%M:%S}",
            f"{result.task} {answer.version}\n{answer.arm}, epoch {answer.release_epoch}",
            told,
            f"{answer.score:.3f}",
            f"{result.revision}" + "\nwithdrawn" * bool(each.withdrawn_at),
            f"{took:.2f} s",
            f"{result.object_id}\n{read}, batch {answer.batch_size}\n{result.result_id}",
        )
    console.print(table)
    if found:
        console.print(found[0].result.answer.notice)
    else:
        console.print(
            "No results yet. `clinstream send` brings some in; `clinstream reconcile` tells what is on its way."
        )


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(results)
