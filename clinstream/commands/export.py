"""`clinstream export`: which results left for which destination, which wait or failed, and sending one again."""

import json
from typing import Annotated, cast
from uuid import UUID

import typer
from rich.console import Console
from rich.table import Column, Table

from adapters import settings as settings_room
from adapters.database import ExportState
from schemas.errors import UserError

JSON = Annotated[bool, typer.Option("--json", help="For machines.")]
GROUP_HELP = "Results on their way to PACS and FHIR servers."
STATES = ("waiting", "sent", "confirmed", "failed", "cancelled")


def show(
    result: Annotated[str, typer.Argument(metavar="[RESULT_ID]", help="Only those of this result.")] = "",
    state: Annotated[str, typer.Option(help=f"Only those in this state: {', '.join(STATES)}.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    as_json: JSON = False,
) -> None:
    """Show what left, newest first. `confirmed`: the receiver, asked, has it; `failed`: nobody tries any more.

    Examples: clinstream export show · clinstream export show --state failed
    """
    from clinstream import leaving

    if state and state not in STATES:
        raise UserError(f"There is no state {state}; there are {', '.join(STATES)}.")
    wanted = cast(ExportState, state) if state else None
    rows = leaving.exports(settings_room.load(), state=wanted, result=_id(result) if result else None, limit=limit)
    if as_json:
        print(json.dumps([leaving.facts(row) for row in rows]))
        return
    if not rows:
        print("Nothing was to be sent.")
        return
    result_id = Column("result", no_wrap=True)
    table = Table(result_id, "filed", "model", "action", "destination", "state", box=None, pad_edge=False)
    for row in rows:
        state_and_why = f"{row.state}: {row.reason}" if row.reason else row.state
        table.add_row(
            str(row.result_id), f"{row.filed_at:%m-%d %H:%M}", row.task, row.action, row.destination, state_and_why
        )
    Console(highlight=False).print(table)


def resend(
    id: Annotated[
        str, typer.Argument(metavar="ID", help="Of a result, or of one sending as `export show --json` has.")
    ],
    by: Annotated[str, typer.Option("--by", help="Who asks; for the audit.")],
    why: Annotated[str, typer.Option("--why", help="Why; for the audit.")],
    destination: Annotated[str, typer.Option(help="Only to this destination.")] = "",
    as_json: JSON = False,
) -> None:
    """Send a result once more, however old it is. Its objects keep their UIDs, so the receiver has each of them once.

    Example: clinstream export resend RESULT_ID --by j.doe --why "the PACS was restored from a backup"
    """
    from clinstream import leaving

    found = leaving.resend(settings_room.load(), _id(id), destination=destination or None, by=by, why=why)
    if as_json:
        print(json.dumps([str(each) for each in found]))
    else:
        print(f"{len(found)} waiting to be sent again.")


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise UserError(f"{text[:40]} is no id; `clinstream results --json` shows the ids.") from None


def register(app: typer.Typer) -> None:
    """Adds the group."""
    group = typer.Typer(help=GROUP_HELP, no_args_is_help=True)
    group.command()(show)
    group.command()(resend)
    app.add_typer(group, name="export")
