"""`clinstream down`: stops the stack and leaves no process behind; the state stays."""

import typer

from adapters import settings as settings_room
from clinstream import running
from clinstream.embedded.home import Home


def down() -> None:
    """Stop everything that `up` started. The state stays, and the next `up` goes on from it.

    Example: clinstream down
    """
    home = Home(settings_room.load().home)
    stopped = running.take_down(home)
    typer.echo(f"Stopped {len(stopped)} processes." if stopped else "Nothing was running.")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(down)
