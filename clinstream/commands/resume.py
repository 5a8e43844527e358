"""`clinstream resume`: lets a braked lane go on; what brakes one is the consumers' matter."""

from typing import Annotated

import typer

from adapters import settings as settings_room
from schemas.errors import UserError


def resume(
    lane: Annotated[str, typer.Argument(help="The lane as `status` names it, e.g. imaging-infer.routine.")],
) -> None:
    """Let a lane go on that stopped because most of its events failed; mend the cause first.

    The events that failed while it stopped were kept and are tried again. Example: clinstream resume signals
    """
    from consumers import brake  # with its logs and metrics half a second that other commands need not wait for

    home = settings_room.load().home
    if brake.release(home, lane):
        typer.echo(f"{lane} goes on.")
        return
    braked = brake.braked_lanes(home)
    known = f"Braked now: {', '.join(braked)}." if braked else "No lane is braked."
    raise UserError(f"{lane} is not braked. {known}")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(resume)
