"""`clinstream send`: real files through the real doors; reading and sending are in `clinstream.sending`."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column, Table

import triton_models
from adapters import settings as configuration
from adapters.clock import SystemClock
from adapters.database import Database
from adapters.settings import Settings
from clinstream.sending import objects, outcomes, store, vitals
from clinstream.sending.outcomes import Ending
from clinstream.sending.sent import Sent
from clinstream.sending.wrap import Wrapping
from producers.dicom_identity import SIMULATED_SUFFIX
from schemas.errors import Unavailable
from triton_models.icu_mortality.preprocess import FEATURES

ALL_ACCEPTED, SOME_REFUSED, NOT_REACHABLE = 0, 1, 3
AE_TITLE_LENGTH = 16
MOST_ROWS = 200
"""Beyond this many lines a person is shown only what was not accepted; `--json` shows all."""

app = typer.Typer(help="Send real files through the real doors.", no_args_is_help=True)


def register(root: typer.Typer) -> None:
    """Adds the group `send` to the command line."""
    root.add_typer(app, name="send")


Paths = Annotated[list[Path], typer.Argument(help="Files and folders.", exists=True)]
Stat = Annotated[bool, typer.Option("--stat", help="Mark as urgent: the STAT lane takes it first.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the results and print them.")]
WaitFor = Annotated[float, typer.Option("--wait-seconds", min=0, help="How long --wait waits at most.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON line an object.")]
Simulated = Annotated[bool, typer.Option("--simulated", help="Injected data: results go to simulated.<task> only.")]

MeasuredAt = Annotated[
    datetime | None,
    typer.Option(formats=["%Y-%m-%dT%H:%M:%SZ"], help="UTC time of readings that state none."),
]


@app.command()
def dicom(
    paths: Paths,
    stat: Stat = False,
    wait: Wait = False,
    wait_seconds: WaitFor = 120.0,
    as_json: Json = False,
    simulated: Simulated = False,
    subject: Annotated[str, typer.Option(help="Patient of wrapped pictures; else each is one of its own.")] = "",
    body_part: Annotated[str, typer.Option(help="Body Part Examined of wrapped pictures.")] = "CHEST",
    view: Annotated[str, typer.Option(help="View Position of wrapped pictures: PA, AP, LL ...")] = "",
    associations: Annotated[int, typer.Option(min=1, max=16, help="Associations side by side.")] = 2,
) -> None:
    """Store DICOM files, byte for byte, and JPEG or PNG X-rays, wrapped as DX, through the DICOM door.

    Folders are searched. Every file gets a line: accepted, refused, unreadable or retry. Exit 0: all accepted;
    1: some not; 2: usage; 3: the door does not answer.

    Examples: clinstream send dicom study/ --wait · clinstream send dicom chest.jpg --stat --json
    """
    chosen = configuration.load()
    suffix = SIMULATED_SUFFIX if simulated else ""
    called = chosen.doors.dicom_ae_title[: AE_TITLE_LENGTH - len(suffix)] + suffix
    target = store.Target(chosen.doors.dicom_host, chosen.doors.dicom_port, called, urgent=stat)
    if not store.answers(target):
        _unreachable(f"The DICOM door at {target.host}:{target.port} does not answer")
    wrapping = Wrapping(subject, body_part.upper(), view.upper())
    found = list(objects.files(paths))
    loaded = (objects.load(path, wrapping, simulated=simulated) for path in found)
    lines = store.send(loaded, target, associations=associations, pause=time.sleep)
    _report(chosen, lines, len(found), "image", wait_seconds if wait else None, as_json)


@app.command(name="vitals")
def send_vitals(
    paths: Paths,
    wait: Wait = False,
    wait_seconds: WaitFor = 120.0,
    as_json: Json = False,
    simulated: Simulated = False,
    measured_at: MeasuredAt = None,
) -> None:
    """Post ward vitals from CSV (.gz) or JSON files through the HTTP door.

    CSV needs a column `stay` or `recordid` and the 62 feature columns; columns that no model knows are not sent. Every
    row gets a line. Exit 0: all accepted; 1: some not; 2: usage; 3: the door does not answer.

    Example: clinstream send vitals stays.csv.gz --wait
    """
    chosen = configuration.load()
    url = f"http://{chosen.doors.http_host}:{chosen.doors.http_port}"
    if not vitals.answers(url):
        _unreachable(f"The HTTP door at {url} does not answer")
    moment = measured_at.replace(tzinfo=UTC) if measured_at else datetime.now(UTC).replace(microsecond=0)
    defaults = vitals.Defaults(moment, simulated)
    rows = (row for path in objects.files(paths) for row in vitals.load(path, FEATURES, defaults))
    lines = vitals.send(rows, url, pause=time.sleep)
    _report(chosen, lines, None, "vitals", wait_seconds if wait else None, as_json)


def _report(
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
    tasks = [name for name, model in triton_models.discover().items() if model.card.consumes == kind]

    async def ask() -> dict[str, list[Ending]]:
        clock = SystemClock()
        database = Database.open(chosen, clock)
        try:
            with _progress("waiting for results", len(set(event_ids)), as_json) as advance:
                return await outcomes.endings(database, event_ids, tasks, clock, seconds=seconds, progress=advance)
        finally:
            await database.close()

    try:
        return asyncio.run(ask())
    except Unavailable as error:
        _unreachable(f"Sent, but the results cannot be asked for: {error}")


def _table(sent: list[Sent], ended: dict[str, list[Ending]]) -> None:
    console = Console()
    table = Table(Column("file", overflow="fold"), "status", "result", Column("reason", overflow="fold"))
    shown = sent if len(sent) <= MOST_ROWS else [line for line in sent if line.status != "accepted"][:MOST_ROWS]
    for line in shown:
        endings: Sequence[Ending | None] = ended.get(line.event_id or "") or [None]
        for ending in endings:
            table.add_row(line.path, line.status, _result(ending), (ending.reason if ending else "") or line.reason)
    if shown:
        console.print(table)
    counts = Counter(line.status for line in sent)
    console.print(", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing to send")


def _result(ending: Ending | None) -> str:
    if ending is None:
        return ""
    if ending.score is None:
        return f"{ending.task}: {ending.fate}"
    unsure = ", abstained" if ending.abstained else ""
    return f"{ending.task}: {ending.label} ({ending.score:.3f}{unsure}; {ending.fate})"


@contextmanager
def _progress(what: str, total: int | None, as_json: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error for a person who looks; nothing for a machine."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), disable=as_json or not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _unreachable(sentence: str) -> NoReturn:
    print(f"{sentence}. Is the stack up? `clinstream status` tells; `clinstream up` starts it.", file=sys.stderr)
    raise typer.Exit(NOT_REACHABLE)
