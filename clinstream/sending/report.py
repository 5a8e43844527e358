"""What `clinstream send` tells: a line for each object, results if they are waited for, a table for people."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table

import triton_models
from adapters.clock import SystemClock
from adapters.database import Database
from adapters.settings import Settings
from clinstream.sending import outcomes
from clinstream.sending.outcomes import Ending
from clinstream.sending.sent import Sent
from schemas.errors import Unavailable

ALL_ACCEPTED, SOME_REFUSED, NOT_REACHABLE = 0, 1, 3
MOST_ROWS = 200
"""Beyond this many lines a person is shown only what was not accepted; `--json` shows all."""


def print_lines(
    chosen: Settings, lines: Iterator[Sent], total: int | None, kind: str, wait_s: float | None, as_json: bool
) -> None:
    """Prints the lines, as they come unless results are waited for, and ends with the exit code that they mean."""
    sent: list[Sent] = []
    with _progress("sending", total, as_json) as advance:
        for line in lines:
            sent.append(line)
            advance(len(sent))
            if as_json and wait_s is None:
                print(json.dumps(line.line()), flush=True)
    ended: dict[str, list[Ending]] = {}
    if wait_s is not None:
        ended = _wait(chosen, [line.event_id for line in sent if line.event_id], kind, wait_s, as_json)
    if not as_json:
        _table(sent, ended)
    elif wait_s is not None:
        for line in sent:
            results = [ending.line() for ending in ended.get(line.event_id or "", [])]
            print(json.dumps({**line.line(), "results": results}))
    raise typer.Exit(ALL_ACCEPTED if all(line.status == "accepted" for line in sent) else SOME_REFUSED)


def _wait(
    chosen: Settings, event_ids: Collection[str], kind: str, seconds: float, as_json: bool
) -> dict[str, list[Ending]]:
    chains = _chains(kind)

    async def ask() -> dict[str, list[Ending]]:
        clock = SystemClock()
        database = Database.open(chosen, clock)
        try:
            with _progress("waiting for results", len(set(event_ids)), as_json) as advance:
                return await outcomes.endings(database, event_ids, chains, clock, seconds=seconds, progress=advance)
        finally:
            await database.close()

    try:
        return asyncio.run(ask())
    except Unavailable as error:
        unreachable(f"Sent, but the results cannot be asked for: {error}")


def _chains(kind: str) -> list[outcomes.Chain]:
    """The tasks that events of a kind are routed to, each with its follow-up."""
    models = triton_models.discover()
    followed = triton_models.chains(models)
    later = {follow_up.task for follow_up in followed.values()}
    return [
        (name, followed[name].task) if name in followed else (name,)
        for name, model in models.items()
        if model.card.consumes == kind and name not in later
    ]


def _table(sent: list[Sent], ended: dict[str, list[Ending]]) -> None:
    """One row an object and task; columns that would be empty are left out, so that the others have room."""
    console = Console()
    shown = sent if len(sent) <= MOST_ROWS else [line for line in sent if line.status != "accepted"][:MOST_ROWS]
    rows = [
        (_short(line.path, sent), line.status, _result(ending), (ending.reason if ending else "") or line.reason)
        for line in shown
        for ending in _endings(line, ended)
    ]
    used = [any(row[place] for row in rows) for place in range(4)]
    names = ("file", "status", "result", "reason")
    table = Table(*(Column(name, overflow="fold") for name, there in zip(names, used, strict=True) if there))
    for row in rows:
        table.add_row(*(cell for cell, there in zip(row, used, strict=True) if there))
    if rows:
        console.print(table)
    counts = Counter(line.status for line in sent)
    console.print(", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing to send")


def _endings(line: Sent, ended: dict[str, list[Ending]]) -> Sequence[Ending | None]:
    return ended.get(line.event_id or "") or [None]


def _short(path: str, sent: list[Sent]) -> str:
    """The path below the folder that all share."""
    above = os.path.commonpath([os.path.dirname(os.path.abspath(line.path)) for line in sent])
    return os.path.relpath(os.path.abspath(path), above)


def _result(ending: Ending | None) -> str:
    if ending is None:
        return ""
    if ending.score is None:
        return f"{ending.task}: {ending.fate}"
    unsure = ", abstained" if ending.abstained else ""
    if ending.said:
        return f"{ending.task}: {ending.said} ({ending.fate})"
    return f"{ending.task}: {ending.label} ({ending.score:.3f}{unsure}; {ending.fate})"


@contextmanager
def _progress(what: str, total: int | None, as_json: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error for a person who looks; nothing for a machine."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), disable=as_json or not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def unreachable(sentence: str) -> NoReturn:
    """Ends the command with a sentence on standard error and exit 3."""
    print(f"{sentence}. Is the stack up? `clinstream status` tells; `clinstream up` starts it.", file=sys.stderr)
    raise typer.Exit(NOT_REACHABLE)
