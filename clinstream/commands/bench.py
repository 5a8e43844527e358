"""`clinstream bench`: measures the running stack against a baseline of the same run; how is in `clinstream.benches`."""

import asyncio
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from adapters import settings as settings_room
from adapters.settings import Settings
from clinstream import running, stack
from clinstream.embedded import postgres
from clinstream.embedded.home import Home
from schemas.errors import UserError

if TYPE_CHECKING:
    from clinstream.benches.figures import Report  # brings numpy along, which no other command needs


class Bench(StrEnum):
    """What can be measured."""

    IMAGING = "imaging"
    VITALS = "vitals"
    CGM = "cgm"
    STAT = "stat"
    RESTART = "restart"
    DICOM = "dicom"
    GLUCOBENCH = "glucobench"
    PREDICTIONS = "predictions"
    STORM = "storm"
    HOSPITAL = "hospital"
    DOOR = "door"


# Vitals: waking the held process costs about a second, a fifth of 10,000 events' time and 7 % of 30,000's.
COUNTS = {
    Bench.IMAGING: 480,
    Bench.VITALS: 30_000,
    Bench.CGM: 20_000,
    Bench.STAT: 30,
    Bench.RESTART: 0,
    Bench.DICOM: 0,
    Bench.PREDICTIONS: 2000,
    Bench.STORM: 1000,
    Bench.HOSPITAL: 0,
    Bench.DOOR: 2000,
}
REPEATS = {
    Bench.IMAGING: 3,
    Bench.VITALS: 3,
    Bench.CGM: 3,
    Bench.STAT: 2,
    Bench.RESTART: 2,
    Bench.DICOM: 3,
    Bench.PREDICTIONS: 3,
    Bench.STORM: 1,
    Bench.HOSPITAL: 1,
    Bench.DOOR: 3,
}


def bench(
    name: Annotated[Bench, typer.Argument(help="What to measure.")],
    repeats: Annotated[int | None, typer.Option(min=1, help="How often; figures are medians.")] = None,
    count: Annotated[int | None, typer.Option(min=10, help="Events or images a repeat.")] = None,
    images: Annotated[Path | None, typer.Option(exists=True, help="Folder of X-ray pictures to use.")] = None,
    side: Annotated[int, typer.Option(min=128, help="Enlarge smaller pictures to this many pixels a side.")] = 1536,
    readings: Annotated[Path | None, typer.Option(exists=True, help="glucobench: Parquet file of readings.")] = None,
    gap_min: Annotated[float, typer.Option(help="glucobench: minutes without a reading that end a segment.")] = 45,
    min_segment: Annotated[int, typer.Option(help="glucobench: shortest segment, in steps of 5 minutes.")] = 240,
    test_segment: Annotated[int, typer.Option(help="glucobench: last steps of a subject, held out.")] = 240,
    max_input: Annotated[int, typer.Option(help="glucobench: most steps that a forecast may see.")] = 144,
    seeds: Annotated[int, typer.Option(min=1, help="glucobench: how many divisions of the subjects.")] = 1,
    huge: Annotated[bool, typer.Option("--huge", help="dicom: objects of 50 MB as well.")] = False,
    rates: Annotated[str, typer.Option(help="hospital: studies an hour, one after the other.")] = "250,375,2500",
    minutes: Annotated[
        float | None,
        typer.Option(min=0.1, help="hospital: so much of its time at each rate (2.5); cgm with --rate (10)."),
    ] = None,
    scale: Annotated[float, typer.Option(min=0.01, max=1, help="hospital: share of the real number of pixels.")] = 0.1,
    speed: Annotated[float, typer.Option(min=0.1, help="hospital: its time passes so much faster.")] = 2.0,
    rate: Annotated[float | None, typer.Option(min=1, help="cgm: so many readings a second, for --minutes.")] = None,
    wearers: Annotated[int, typer.Option(min=10, help="cgm with --rate: wearers stored before.")] = 1_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Measure the stack that is up, or a temporary one, with made-up events that never mix with clinical results.

    imaging: images/s to PostgreSQL against Triton driven directly · vitals, cgm: events/s against the naive loop ·
    stat: urgent images beside a full routine lane · restart: seconds from SIGKILL until events flow again ·
    dicom: objects/s through the DICOM door against storescp and Orthanc ·
    glucobench: forecasters against a linear one on a file of readings; needs no stack, but training's libraries ·
    predictions: forecasts that 50 ask for at once · storm: 8 h of many wearers at once beside live readings ·
    hospital: a hospital's peak hour through the DICOM door, from a study's last instance to its last result ·
    door: glucose readings through the HTTP door, one and ten a post ·
    cgm --rate: so many readings a second for minutes, with the state of many wearers stored before.

    Examples: clinstream bench vitals · clinstream bench imaging --images xrays/ --json ·
    clinstream bench cgm --rate 3333 --minutes 10 --wearers 1000000 ·
    clinstream bench hospital --rates 250 --minutes 60 --scale 1 --speed 1 ·
    clinstream bench glucobench --readings cgm.parquet --gap-min 45 --min-segment 240 --test-segment 240 --max-input 144
    """
    if name is Bench.GLUCOBENCH:
        _print(_glucobench(readings, (gap_min, min_segment, test_segment, max_input), seeds), as_json)
        return
    # The Kafka client writes to stderr each time it tries again; what it gives up on is raised.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with _stack(as_json) as settings:
        size = (repeats or REPEATS[name], count or COUNTS[name])
        if name is Bench.HOSPITAL:
            hour = (_rates(rates), minutes or 2.5, scale, speed)
            report = asyncio.run(_hospital(settings, size[0], hour, images, side))
        elif name is Bench.CGM and rate is not None:
            report = asyncio.run(_sustained(settings, wearers, rate, minutes or 10.0))
        else:
            report = asyncio.run(_measure(settings, name, size, images, side, huge))
    _print(report, as_json)


def _glucobench(readings: Path | None, sizes: tuple[float, int, int, int], seeds: int) -> "Report":
    from clinstream.benches import glucobench

    if readings is None:
        raise UserError("Say with --readings which Parquet file of readings to judge on.")
    return glucobench.run(readings, sizes, seeds, _tell)


def _rates(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(each) for each in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) <= 0:
        raise UserError("--rates are numbers of studies an hour with commas between them: 250,375,2500.")
    return found


async def _hospital(
    settings: Settings,
    repeats: int,
    hour: tuple[tuple[float, ...], float, float, float],
    images: Path | None,
    side: int,
) -> "Report":
    from clinstream.benches import hospital, load
    from clinstream.benches.plant import plant

    originals = load.pictures(images, side)
    async with plant(settings) as found:
        return await hospital.run(
            found,
            repeats=repeats,
            size=hospital.Size(*hour),
            originals=originals,
            tell=_tell,
        )


async def _sustained(settings: Settings, wearers: int, rate: float, minutes: float) -> "Report":
    from clinstream.benches import sustained
    from clinstream.benches.plant import plant

    async with plant(settings) as found:
        size = sustained.Size(wearers, rate, minutes)
        return await sustained.run(found, size=size, tell=_tell)


def _tell(line: str) -> None:
    """What a long measurement says on its way."""
    Console(stderr=True, highlight=False).print(line, soft_wrap=True)


def _print(report: "Report", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.to_json()))
    else:
        _show(report, Console(highlight=False))


async def _measure(
    settings: Settings, name: Bench, size: tuple[int, int], images: Path | None, side: int, huge: bool
) -> "Report":
    repeats, count = size
    # Imported here: the benches bring the consumers' libraries along, which no other command needs.
    from clinstream.benches import cgm, dicom, door, imaging, load, predictions, restart, stat, storm, vitals
    from clinstream.benches.plant import plant

    async with plant(settings) as found:
        if name is Bench.VITALS:
            return await vitals.run(found, repeats=repeats, count=count)
        if name is Bench.PREDICTIONS:
            return await predictions.run(found, repeats=repeats, count=count)
        if name is Bench.DOOR:
            return await door.run(found, repeats=repeats, count=count)
        if name is Bench.STORM:
            return await storm.run(found, repeats=repeats, count=count)
        if name is Bench.CGM:
            return await cgm.run(found, repeats=repeats, count=count)
        if name is Bench.DICOM:
            return await dicom.run(found, repeats=repeats, huge=huge, tell=_tell)
        originals = load.pictures(images, side)
        if name is Bench.IMAGING:
            return await imaging.run(found, repeats=repeats, count=count, originals=originals)
        if name is Bench.STAT:
            return await stat.run(found, repeats=repeats, count=count, originals=originals)
        return await restart.run(found, repeats=repeats, originals=originals)


@contextmanager
def _stack(quiet: bool) -> Iterator[Settings]:
    """The running installation, else a temporary one that is taken down afterwards."""
    settings = settings_room.load()
    if running.is_running(Home(settings.home)):
        yield settings
        return
    if not quiet:
        typer.echo("No stack is up; starting a temporary one.")
    with tempfile.TemporaryDirectory(prefix="clinstream-bench-") as folder, running.counted_interrupts() as interrupts:
        home = Home(Path(folder))
        process = running.start(home, parts=list(stack.PARTS), ports=[], services=True, bound_to_us=True)
        try:
            if not running.follow(home, process, interrupts, lambda _status: None):
                raise UserError("Stopped before the stack was ready; nothing is left running.")
            yield settings_room.load(home.folder)
        finally:
            running.end(process, interrupts)
            postgres.forget(home)


def _show(report: "Report", out: Console) -> None:
    out.print(_table_of_rows(report.rows) if report.rows else _table_of_figures(report))
    for what, note in report.notes.items():
        out.print(f"{what.replace('_', ' ')}: {json.dumps(note)}", soft_wrap=True)
    machine = ", ".join(f"{name} {value}" for name, value in report.machine.items())
    out.print(f"[dim]median and spread of the repeats; {machine}[/dim]")


def _table_of_figures(report: "Report") -> Table:
    table = Table(f"bench {report.name}", "value", "unit", "spread", box=None, pad_edge=False)
    for what, ratio in report.ratios.items():
        table.add_row(what, f"{ratio:.2f}", "ratio", "")
    for what, figure in report.figures.items():
        table.add_row(what, f"{figure.value:.4g}", figure.unit, f"{figure.spread:.2g}")
    return table


def _table_of_rows(rows: Sequence[Mapping[str, str]]) -> Table:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(row.get(name, "") for name in columns))
    return table


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(bench)
