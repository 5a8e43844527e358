"""`clinstream where`: follows one thing from the door to its result; finding it is in `clinstream.whereabouts`."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from clinstream.told import score_of, told

if TYPE_CHECKING:
    from clinstream.whereabouts.way import Way

# A wearer has hundreds of events a day.
MOST = 20


def where(
    thing: Annotated[
        str,
        typer.Argument(
            metavar="THING",
            help="Accession number, SOP or Study Instance UID, stay, wearer, patient id, event id or result id.",
        ),
    ],
    issuer: Annotated[str, typer.Option(help="Issuer of a stay, wearer or patient id, where there is one.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, for machines.")] = False,
) -> None:
    """Show one thing's whole way: stored, events, lanes, model, result, and the hop where it waits now.

    Looking up an accession number or a patient is written to the audit. Exit 1 when nothing is known of the thing.

    Examples: clinstream where 1.2.840.113619.2.1 · clinstream where 20260131-17 --json
    """
    from clinstream.whereabouts.find import find  # on use: the database's client costs a second of start

    found = find(thing, issuer)
    if as_json:
        print(json.dumps([way.json() for way in found]))
    elif not found:
        print("Nothing is known of it: neither the doors nor the database have seen it.")
    else:
        for way in found[-MOST:]:
            _show(way)
        if len(found) > MOST:
            print(f"These are the latest {MOST} of {len(found)} events; --json tells all.")
    raise typer.Exit(0 if found else 1)


def _show(way: "Way") -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("", "", title=f"event {way.event_id}", title_justify="left", show_header=False)
    for name, said in _lines(way):
        table.add_row(name, said)
    console.print(table)
    waits = way.waits
    if waits is not None:
        console.print(f"It waits in {waits.topic} for {waits.group}; {waits.before} events are before it.")
    elif not way.outcomes:
        console.print("[bold red]It has no outcome and waits nowhere; see `clinstream reconcile`.[/bold red]")


def _lines(way: "Way") -> list[tuple[str, str]]:
    """What there is to say, top to bottom."""
    lines = [("object", way.object_id), ("subject", way.subject_id)]
    if way.image is not None:
        lines.append(("stored", f"{way.image.blob_uri}  ({way.image.modality or 'unknown modality'})"))
        lines.append(("from", way.image.sender))
    for stop in way.stops:
        said = f"partition {stop.partition}, offset {stop.offset}, {stop.at} {stop.reason}"
        lines.append((f"{stop.topic} {stop.task}".strip(), said.strip()))
    for answer in way.answers:
        hops = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in way.hops(answer).items())
        said = f"{told(answer)} {score_of(answer)}".strip() + " (abstained)" * answer.abstained
        served = f"{answer.task} {answer.version}, {answer.arm}, epoch {answer.release_epoch}"
        lines.append(("answer", f"{said}; {served}, batch {answer.batch_size}; {hops}; {answer.use_status}"))
        lines += [("", f"because {answer.reason}")] if answer.reason else []
        lines += [("warning", warning) for warning in answer.warnings]
    for each in way.results:
        shown = f"{each.result.result_id}, revision {each.result.revision} of {each.result.task}"
        shown += f", withdrawn: {each.withdrawn_why}" if each.withdrawn_at else ""
        lines.append(("result", f"{shown}; {each.result.answer.use_status}"))
    for outcome in way.outcomes:
        lines.append(("outcome", f"{outcome.task}: {outcome.fate} {outcome.reason}".strip()))
    return lines


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(where)
