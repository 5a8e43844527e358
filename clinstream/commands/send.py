"""`clinstream send`: real files through the real doors; reading and sending are in `clinstream.sending`."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from adapters.settings import Settings

AE_TITLE_LENGTH = 16

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
    # Imported on use: pydicom, SQLAlchemy and the models cost every other command a second of its start.
    from adapters import settings
    from clinstream.sending import objects, report, store
    from clinstream.sending.wrap import Wrapping
    from producers.dicom_identity import SIMULATED_SUFFIX

    chosen = settings.load()
    suffix = SIMULATED_SUFFIX if simulated else ""
    called = chosen.doors.dicom_ae_title[: AE_TITLE_LENGTH - len(suffix)] + suffix
    target = store.Target(chosen.doors.dicom_host, chosen.doors.dicom_port, called, urgent=stat)
    if not store.answers(target):
        report.unreachable(f"The DICOM door at {target.host}:{target.port} does not answer")
    wrapping = Wrapping(subject, body_part.upper(), view.upper())
    found = list(objects.files(paths))
    loaded = (objects.load(path, wrapping, simulated=simulated) for path in found)
    lines = store.send(loaded, target, associations=associations, pause=time.sleep)
    report.print_lines(chosen, lines, len(found), "image", wait_seconds if wait else None, as_json)


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
    from adapters import settings
    from clinstream.sending import objects, posting, report, vitals
    from triton_models.icu_mortality.preprocess import FEATURES

    chosen = settings.load()
    url = _http_door(chosen)
    moment = measured_at.replace(tzinfo=UTC) if measured_at else datetime.now(UTC).replace(microsecond=0)
    defaults = vitals.Defaults(moment, simulated)
    rows = (row for path in objects.files(paths) for row in vitals.load(path, FEATURES, defaults))
    lines = posting.send(rows, posting.Target(url, vitals.ROUTE), pause=time.sleep)
    report.print_lines(chosen, lines, None, "vitals", wait_seconds if wait else None, as_json)


@app.command()
def cgm(
    paths: Paths,
    wearer: Annotated[str, typer.Option(help="Whose recording it is; a credential is made where there is none.")],
    shift_to_now: Annotated[
        bool, typer.Option("--shift-to-now", help="Move the times: the last reading is now.")
    ] = False,
    zone: Annotated[str, typer.Option(help="Time zone of times without one: Europe/Berlin ...")] = "UTC",
    wait: Wait = False,
    wait_seconds: WaitFor = 120.0,
    as_json: Json = False,
    simulated: Simulated = False,
) -> None:
    """Post the readings of a glucose monitor from CSV, Parquet or Nightscout JSON through the HTTP door.

    Exports of Dexcom Clarity and LibreView (CSV) are known; they hold local times: name their zone. Other CSV and
    Parquet files need a column of time (`timestamp`, `measured_at` ...) and of glucose (`glucose_mg_dl`, `glucose`,
    `glucose_mmol_l`). Every reading gets a line. Exit 0: all accepted; 1: some not; 2: usage; 3: the door does not
    answer.

    Example: clinstream send cgm wearer-01.csv --wearer W-01 --shift-to-now --wait
    """
    import asyncio
    from functools import partial

    from adapters import settings
    from clinstream import uploaders
    from clinstream.sending import cgm as recordings
    from clinstream.sending import objects, posting, report

    chosen = settings.load()
    url = _http_door(chosen)
    secret = asyncio.run(uploaders.with_database(chosen, partial(uploaders.secret_for, settings=chosen, name=wearer)))
    local = recordings.zone(zone)
    rows = (row for path in objects.files(paths) for row in recordings.load(path, simulated=simulated, zone=local))
    moved = recordings.shifted(rows, datetime.now(UTC).replace(microsecond=0)) if shift_to_now else rows
    target = posting.Target(url, recordings.ROUTE, {"api-secret": secret})
    lines = posting.send(iter(moved), target, pause=time.sleep)
    report.print_lines(chosen, lines, None, "glucose", wait_seconds if wait else None, as_json)


@app.command()
def otoscope(
    paths: Paths,
    laterality: Annotated[str, typer.Option(help="left or right; else the file's name says it: ear_left.jpg.")] = "",
    subject: Annotated[str, typer.Option(help="Whose ears; else the file's name before _left or _right.")] = "",
    stat: Stat = False,
    wait: Wait = False,
    wait_seconds: WaitFor = 120.0,
    as_json: Json = False,
    simulated: Simulated = False,
) -> None:
    """Post pictures of ears, JPEG or PNG, through the HTTP door; DICOM pictures go with `send dicom`.

    Folders are searched. Every file gets a line. Exit 0: all accepted; 1: some not; 2: usage; 3: the door does not
    answer.

    Examples: clinstream send otoscope ears/ --wait · clinstream send otoscope ear.jpg --laterality left --subject P-9
    """
    from adapters import settings
    from clinstream.sending import objects, report
    from clinstream.sending import otoscope as pictures
    from schemas.errors import UserError

    if laterality not in ("", "left", "right"):
        raise UserError("--laterality is left or right.")
    chosen = settings.load()
    url = _http_door(chosen)
    found = list(objects.files(paths))
    saying = pictures.Saying(laterality, subject, stat, simulated)
    lines = pictures.send(iter(found), url, saying, pause=time.sleep)
    report.print_lines(chosen, lines, len(found), "image", wait_seconds if wait else None, as_json)


def _http_door(chosen: "Settings") -> str:
    """The URL of the HTTP door; ends the command where nobody answers there."""
    from clinstream.sending import posting, report

    url = f"http://{chosen.doors.http_host}:{chosen.doors.http_port}"
    if not posting.answers(url):
        report.unreachable(f"The HTTP door at {url} does not answer")
    return url
