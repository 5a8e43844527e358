"""`clinstream results`: what PostgreSQL holds, and taking a result back; which are visible is decided elsewhere."""

import asyncio
import getpass
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
import typer

from clinstream.told import score_of, told, without_research
from schemas.errors import UserError

if TYPE_CHECKING:
    from adapters.database import Database, Refusal, ResultFilter, StoredResult, Withdrawal
    from schemas.events import ResultPublished

AGO = re.compile(r"(\d+)([smhd])")
SHORT = 14
WIDTH = 130
WHY = "Why, in words that subscribers read as well: no names, no numbers of people."
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def results(
    context: typer.Context,
    since: Annotated[str, typer.Option(help="A time (2026-01-31T08:00Z) or how long ago (15m, 2h, 1d).")] = "",
    model: Annotated[str, typer.Option(help="Only of this model, for example chest_xray.")] = "",
    subject: Annotated[str, typer.Option(help="Only of this pseudonymous subject (sub-...).")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest first.")] = 50,
    simulated: Annotated[bool, typer.Option("--simulated", help="Also results of injected data.")] = False,
    refused: Annotated[bool, typer.Option("--refused", help="Instead, what models did not take, and why.")] = False,
    lineage: Annotated[bool, typer.Option("--lineage", help="Where each event was read, arm, epoch, batch.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, for machines, lineage included.")] = False,
) -> None:
    """List the visible results, newest first, and below them what models refused to look at and why.

    `results show` compares one with the result before it of the same patient, `results withdraw` takes one back.

    Examples: clinstream results --lineage · clinstream results --since 1h --model chest_xray --json ·
    clinstream results --refused --json
    """
    if context.invoked_subcommand is not None:
        return
    from adapters.database import ResultFilter  # on use: the database's client costs a second of start

    wanted = ResultFilter(
        since=moment(since, datetime.now(UTC)) if since else None,
        model=model or None,
        subject=subject or None,
        limit=limit,
        simulated=simulated,
    )
    found = [] if refused else asyncio.run(_ask(wanted))
    turned_away = asyncio.run(_refused(wanted)) if refused or not as_json else []
    if as_json:
        print(json.dumps([refusal(each) for each in turned_away] if refused else [line(each) for each in found]))
        return
    if not refused:
        _show(found, lineage)
    if refused or turned_away:
        _show_refused(turned_away)


def show(
    result_id: Annotated[str, typer.Argument(metavar="ID", help="As `clinstream results --json` shows it.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Show one result, why it abstains, and whether it changed since the last study of the same patient.

    Compared is the newest visible result of the same model on another study that came in earlier.

    Example: clinstream results show 6a3c1c44-5f6b-5c3e-9d0e-4f6f3f1f8a01
    """
    from clinstream import comparison

    found, prior = asyncio.run(_with_prior(_id(result_id)))
    if found is None:
        raise UserError(f"There is no visible result {result_id}.")
    if as_json:
        said = comparison.as_json(line(found), line(prior) if prior else None, comparison.compared(found, prior))
        print(json.dumps({**said, **comparison.research_as_json(found)}))
        return
    for sentence in comparison.lines(found, prior):
        print(sentence)


def withdraw(
    result_id: Annotated[str, typer.Argument(metavar="ID", help="As `clinstream results --json` shows it.")],
    why: Annotated[str, typer.Option(help=WHY)],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Take a result back, and the follow-ups that it asked for: audited, told to subscribers, never undone.

    A second time changes nothing.

    Example: clinstream results withdraw 6a3c1c44-5f6b-5c3e-9d0e-4f6f3f1f8a01 --why "image of another patient"
    """
    wanted = _id(result_id)
    if not why.strip():
        raise UserError("Say why: --why is kept in the audit and told to subscribers.")
    done = asyncio.run(_withdraw(wanted, why.strip()))
    if as_json:
        print(json.dumps(_taken_back(done)))
        return
    if done.again:
        print(f"It was withdrawn before, at {done.result.withdrawn_at:%Y-%m-%d %H:%M} UTC.")
        return
    for each in (done.result, *done.followed):
        print(f"withdrawn: {each.result_id}, revision {each.revision} of {each.task}")


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise UserError(f"{text!r} is no result id; `clinstream results --json` shows them.") from None


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
    """A result as JSON: the published event with when it became visible, without what is measured for research."""
    return {
        **msgspec.to_builtins(msgspec.structs.replace(each.result, answer=without_research(each.result.answer))),
        "visible_at": each.visible_at.isoformat(),
        "withdrawn_at": each.withdrawn_at.isoformat() if each.withdrawn_at else None,
        "withdrawn_why": each.withdrawn_why,
        "amended_at": each.amended_at.isoformat() if each.amended_at else None,
        "amended": each.amended,
        "use_status": each.result.answer.use_status,
    }


def refusal(each: "Refusal") -> dict[str, Any]:
    """A refused outcome as JSON."""
    outcome = each.outcome
    return {
        "event_id": str(outcome.event_id),
        "object_id": outcome.object_id,
        "subject_id": outcome.subject_id,
        "task": outcome.task,
        "fate": outcome.fate,
        "code": outcome.code,
        "reason": outcome.reason,
        "decided_at": each.decided_at.isoformat(),
    }


def _taken_back(done: "Withdrawal") -> dict[str, Any]:
    return {
        "result_id": str(done.result.result_id),
        "task": done.result.task,
        "revision": done.result.revision,
        "again": done.again,
        "followed": [{"result_id": str(each.result_id), "task": each.task} for each in done.followed],
    }


async def _ask(wanted: "ResultFilter") -> "list[StoredResult]":
    database = _open()
    try:
        return await database.results(wanted)
    finally:
        await database.close()


async def _refused(wanted: "ResultFilter") -> "list[Refusal]":
    database = _open()
    try:
        return await database.refused(wanted)
    finally:
        await database.close()


async def _with_prior(result_id: UUID) -> "tuple[StoredResult | None, StoredResult | None]":
    database = _open()
    try:
        return await database.with_prior(result_id)
    finally:
        await database.close()


async def _withdraw(result_id: UUID, why: str) -> "Withdrawal":
    database = _open()
    try:
        return await database.withdraw(result_id, by_whom=getpass.getuser(), why=why)
    finally:
        await database.close()


def _open() -> "Database":
    from adapters import settings
    from adapters.clock import SystemClock
    from adapters.database import Database

    return Database.open(settings.load(), SystemClock())


def _show(found: "list[StoredResult]", lineage: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    console = Console(highlight=False)
    if console.width < WIDTH:  # a line that a narrow terminal breaks reads better than columns of three letters
        console = Console(highlight=False, width=WIDTH)
    since, model, score, thing = (Column(name, no_wrap=True) for name in ("since", "model", "score", "object"))
    table = Table(since, model, "answer", score, "rev", thing, "use", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for each in found:
        result, answer = each.result, each.result.answer
        said = told(answer) + ", abstained" * answer.abstained + ", simulated" * answer.simulated
        table.add_row(
            f"{each.visible_at:%m-%d %H:%M}",
            f"{result.task} {answer.version}",
            said + state(each),
            score_of(answer),
            str(result.revision),
            shortened(result.object_id),
            answer.use_status,
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


def _show_refused(found: "list[Refusal]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    console = Console(highlight=False)
    since, model, thing = (Column(name, no_wrap=True) for name in ("refused", "model", "object"))
    table = Table(since, model, "code", "because", thing, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for each in found:
        outcome = each.outcome
        at, thing_id = f"{each.decided_at:%m-%d %H:%M}", shortened(outcome.object_id)
        table.add_row(at, outcome.task, outcome.code or "-", outcome.reason, thing_id)
    console.print(table if found else "Nothing was refused.")


def state(each: "StoredResult") -> str:
    """What became of a visible result since, as words to append; what clinicians said counts less than a withdrawal."""
    if each.withdrawn_at:
        return ", withdrawn"
    if each.amended_at is None:
        return ""
    said = each.amended.get("assessment", "amended")
    return f", {said}" + (f": {each.amended['label']}" if each.amended.get("label") else "")


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
    """Adds the group, which lists by itself."""
    group = typer.Typer(pretty_exceptions_enable=False)
    group.callback(invoke_without_command=True)(results)
    group.command()(show)
    group.command()(withdraw)
    app.add_typer(group, name="results")
