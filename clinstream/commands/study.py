"""`clinstream study`: which studies are complete, what is missing, and one that waits put before the others.

The work is in `clinstream.ledger`, `clinstream.restudy` and `clinstream.expediting`.
"""

import asyncio
import getpass
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from adapters import settings as settings_room
from schemas.errors import UserError

if TYPE_CHECKING:
    from adapters.database.studies import StudyEntry

JSON = Annotated[bool, typer.Option("--json", help="For machines.")]
STATES = ("receiving", "complete", "assumed", "incomplete")
WIDTH = 130
GROUP_HELP = "Studies: what each sender sent of them, whether it is all, and one put before the others."


def list_studies(
    state: Annotated[str, typer.Option(help=f"Only {', '.join(STATES)}.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the most recent first.")] = 50,
    as_json: JSON = False,
) -> None:
    """List studies, the most recent first. `assumed`: nothing more came and nobody had said how much would.

    Example: clinstream study list --state incomplete
    """
    from clinstream import uploaders  # on use: the database's client costs a second of start

    if state and state not in STATES:
        raise UserError(f"There is no state {state!r}; choose from: {', '.join(STATES)}.")
    settings = settings_room.load()
    work = uploaders.with_database(settings, lambda database: database.archive.studies(state or None, limit))
    _tell(asyncio.run(work), as_json)


def show(
    study: Annotated[str, typer.Argument(help="Accession number, Study Instance UID or pseudonym.")],
    as_json: JSON = False,
) -> None:
    """Show one study, a line for each sender; looking it up by a number is audited.

    Example: clinstream study show 1.2.826.0.1.3680043.8.498.2
    """
    from clinstream import ledger, uploaders

    settings = settings_room.load()
    work = uploaders.with_database(settings, lambda database: ledger.entries(database, settings, study))
    _tell(asyncio.run(work), as_json)


def expect(
    study: Annotated[str, typer.Argument(help="Study Instance UID.")],
    sender: Annotated[str, typer.Option(help="Calling AE title; may be left out where only one sent of it.")] = "",
    instances: Annotated[int | None, typer.Option(min=0, help="How many objects it has.")] = None,
    objects: Annotated[Path | None, typer.Option(help="File of SOP Instance UIDs, one a line.")] = None,
    ask: Annotated[str, typer.Option(help="DICOMweb root of a PACS that is asked how many it has.")] = "",
    as_json: JSON = False,
) -> None:
    """Say what is expected of a study: it is complete once that is there, and incomplete when it does not come.

    Examples: clinstream study expect UID --instances 120 · clinstream study expect UID --ask http://pacs/dicom-web
    """
    from clinstream import ledger, uploaders

    if sum(each is not None and each != "" for each in (instances, objects, ask)) != 1:
        raise UserError("Say one of --instances, --objects and --ask.")
    settings = settings_room.load()
    number = ledger.count_at(ask, study) if ask else instances
    try:
        names = list(ledger.names_in(objects.read_text())) if objects else []
    except OSError as error:
        raise UserError(f"{objects} cannot be read ({error.strerror}).") from None
    done = asyncio.run(
        uploaders.with_database(
            settings,
            lambda database: ledger.expect(database, settings, study, sender, "pacs" if ask else "list", number, names),
        )
    )
    _tell([done], as_json)


def expedite(
    which: Annotated[str, typer.Argument(metavar="ACCESSION|STUDY_UID|SOP_UID", help="Which study or image.")],
    issuer: Annotated[str, typer.Option(help="Of a patient id, where one is meant.")] = "",
    as_json: JSON = False,
) -> None:
    """Put the images of a study that wait before the others: they go through the STAT lane; a second time is harmless.

    Example: clinstream study expedite 1.2.840.113619.2.55.3
    """
    from clinstream import expediting

    found = expediting.expedite(settings_room.load(), which, issuer, by_whom=getpass.getuser())
    if as_json:
        print(json.dumps({"expedited": found.expedited, "urgent": found.urgent, "ended": found.ended}))
        return
    for line in expediting.told(found):
        print(line)


def rebuild() -> None:
    """Note again whatever the log holds and the tables do not: lines of the ledger, and what DICOMweb searches.

    What is there stays; each study is then closed anew when its time has passed.

    Example: clinstream study rebuild
    """
    from clinstream.restudy import restudy

    console = Console(stderr=True, highlight=False)
    read = restudy(settings_room.load(), lambda count: console.print(f"{count} objects"))
    print(f"{read} objects of the log are noted.")


def _tell(found: "list[StudyEntry]", as_json: bool) -> None:
    from clinstream import ledger

    lines = [ledger.line(each) for each in found]
    if as_json:
        print(json.dumps(lines))
        return
    table = Table(
        *(Column(name, no_wrap=True) for name in ("study", "sender", "state", "rev", "objects", "why", "last"))
    )
    for each in lines:
        table.add_row(*_row(each))
    console = Console(highlight=False)
    if console.width < WIDTH:  # a line that a narrow terminal breaks reads better than columns of three letters
        console = Console(highlight=False, width=WIDTH)
    console.print(table if lines else "No studies yet.")


def _row(each: dict[str, Any]) -> tuple[str, ...]:
    count = f"{each['received']}" if each["expected"] is None else f"{each['received']} of {each['expected']}"
    missing = f", {each['missing']} listed missing" if each["missing"] else ""
    last = str(each["last_at"])[:16].replace("T", " ")
    return each["study_id"], each["sender"], each["state"], str(each["revision"]), count + missing, each["why"], last


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(help=GROUP_HELP, no_args_is_help=True, pretty_exceptions_enable=False)
    group.command("list")(list_studies)
    group.command()(show)
    group.command()(expect)
    group.command()(expedite)
    group.command()(rebuild)
    app.add_typer(group, name="study")
    app.add_typer(group, name="studies", hidden=True)  # what it was called before
