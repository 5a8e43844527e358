"""`clinstream setup`: downloads what the embedded servers need, showing what it does."""

from collections.abc import Sequence

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from adapters import settings as settings_room
from adapters.settings import Settings
from clinstream import stack
from clinstream.embedded import setup as downloads
from clinstream.embedded import toolchain
from schemas.errors import UserError


def setup() -> None:
    """Download and install what is missing: Kafka's jars, Triton's environment. Done already: says so.

    Example: clinstream setup
    """
    settings = settings_room.load()
    out = Console(highlight=False, soft_wrap=True)
    own = stack.own_parts()
    bring(settings, own, out)
    fixed = toolchain.missing(settings.cache, own)
    if fixed:
        raise UserError("; ".join(f"{lack.what}: {lack.remedy}" for lack in fixed) + ".")
    out.print(f"Everything is in place ({settings.cache}).")


def bring(settings: Settings, parts: Sequence[str], out: Console) -> None:
    """Downloads what the parts lack, one progress line a step; plain sentences where there is no terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=out, disable=not out.is_terminal) as progress:
        tasks: list[int] = []

        def finish() -> None:
            for task in tasks:
                progress.update(progress.task_ids[task], total=1, completed=1)

        def say(sentence: str) -> None:
            if not out.is_terminal:
                typer.echo(sentence)
            finish()
            tasks.append(progress.add_task(sentence, total=None))

        downloads.bring(settings.cache, set(parts), say)
        finish()


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(setup)
