"""`clinstream dead`: what was put aside, as tables and JSON; finding, replaying and opening it is another room's."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from adapters import settings as settings_room
from schemas.errors import UserError

if TYPE_CHECKING:
    from consumers.dead_letters import Letter

# `clinstream.aside` and `clinstream.opening` are imported where they are used: with Kafka and the database they take a
# second, which every other command would wait for as well.

JSON = Annotated[bool, typer.Option("--json", help="For machines.")]
GROUP_HELP = "What was put aside: `failed` (a step gave up) or `unprocessable` (could not be read)."


def list_letters(
    as_json: JSON = False,
    everything: Annotated[bool, typer.Option("--all", help="Also those whose event has ended well since.")] = False,
    sealed: Annotated[bool, typer.Option("--sealed", help="Only what a de-identifying door keeps sealed.")] = False,
) -> None:
    """List what was put aside and is still open, oldest first. `kept`: a door keeps its bytes, `sealed` or as sent.

    Examples: clinstream dead list · clinstream dead list --all --json · clinstream dead list --sealed
    """
    from clinstream import aside

    settings = settings_room.load()
    found = aside.letters(settings)
    shown = found if everything else aside.still_open(settings, found)
    shown = [letter for letter in shown if _kept(letter) == "sealed" or not sealed]
    if as_json:
        typer.echo(json.dumps([_line(letter) for letter in shown]))
        return
    if not shown:
        typer.echo("Nothing is put aside.")
        return
    table = Table("id", "first seen", "from", "attempt", "kept", "reason", box=None, pad_edge=False)
    for letter in shown:
        note = letter.note
        place = "" if aside.at_the_door(letter) else f" {note.origin.partition}/{note.origin.offset}"
        table.add_row(
            letter.id, note.first_seen[:19], note.origin.topic + place, str(note.attempt), _kept(letter), note.reason
        )
    Console(highlight=False).print(table)


def show(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="As `dead list` shows it, e.g. failed-0-12.")],
    as_json: JSON = False,
) -> None:
    """Show one dead letter: why it was put aside, where it came from, its headers and how long its value is.

    Example: clinstream dead show failed-0-12
    """
    from clinstream import aside

    (letter,) = aside.find(aside.letters(settings_room.load()), [letter_id])
    facts = _line(letter)
    if as_json:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        typer.echo(f"{name:>14}  {json.dumps(value) if isinstance(value, dict) else value}")


def replay(
    letter_ids: Annotated[list[str] | None, typer.Argument(metavar="ID...", help="As `dead list` shows them.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All that are still open, except what a door refused.")
    ] = False,
    as_json: JSON = False,
) -> None:
    """Send events through again from where they entered; doing it twice gives no second result.

    Examples: clinstream dead replay failed-0-12 · clinstream dead replay --all
    """
    from clinstream import aside

    if bool(letter_ids) == everything:
        raise UserError("Name the dead letters to replay, or say --all.")
    settings = settings_room.load()
    found = aside.letters(settings)
    if everything:
        chosen = [letter for letter in aside.still_open(settings, found) if not aside.at_the_door(letter)]
    else:
        chosen = aside.find(found, letter_ids or [])
    done = aside.replay(settings, chosen)
    if as_json:
        places = [{"id": each.letter.id, "topic": each.topic, "offset": each.offset} for each in done]
        typer.echo(json.dumps(places))
    else:
        typer.echo(f"Sent {len(done)} events through again.")


def open_kept(
    letter_id: Annotated[str, typer.Argument(metavar="ID", help="As `dead list` shows it.")],
    to: Annotated[Path, typer.Option("--to", help="File to write, new, readable by you alone.")],
    why: Annotated[str, typer.Option("--why", help="Why; for the audit.")],
    by: Annotated[str, typer.Option("--by", help="Who asks; for the audit. The user of this shell otherwise.")] = "",
    as_json: JSON = False,
) -> None:
    """Write what a door kept of an object that it refused to a file, unsealed where it is sealed; audited.

    It may show who the patient is. A DICOM object is the data set as it was sent, without preamble and group 0002.
    Opens for whoever may read the installation's key, as the user who runs clinstream.

    Example: clinstream dead open unprocessable-0-12 --to object.dcm --why "the vendor asks which element is broken"
    """
    from clinstream import aside, opening

    settings, who = settings_room.load(), opening.asked(by, why)
    (letter,) = aside.find(aside.letters(settings), [letter_id])
    found = opening.opened(settings, letter, to, who)
    facts = {"id": letter.id, "file": str(to), "media_type": found.clear_type, "sealed": found.sealed}
    if as_json:
        typer.echo(json.dumps(facts))
        return
    typer.echo(f"{to} holds {letter.id} ({found.clear_type}), which may name a patient; the audit has who and why.")


def _kept(letter: "Letter") -> str:
    from clinstream import opening

    found = opening.kept(letter)
    return "" if found is None else "sealed" if found.sealed else "as sent"


def _line(letter: "Letter") -> dict[str, Any]:
    note = letter.note
    return {
        "id": letter.id,
        "kind": note.kind,
        "reason": note.reason,
        "error_class": note.error_class,
        "event_id": note.event_id,
        "task": note.task,
        "topic": note.origin.topic,
        "partition": note.origin.partition,
        "offset": note.origin.offset,
        "attempt": note.attempt,
        "first_seen": note.first_seen,
        "model_version": note.model_version,
        "kept": _kept(letter),
        "value_bytes": len(letter.value),
        "headers": {name: value.decode(errors="replace") for name, value in letter.headers},
    }


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(help=GROUP_HELP, no_args_is_help=True)
    group.command("list")(list_letters)
    group.command()(show)
    group.command()(replay)
    group.command("open")(open_kept)
    app.add_typer(group, name="dead")
