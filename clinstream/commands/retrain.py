"""`clinstream retrain`: a person asks for a training run; how it goes on is the trainer's matter."""

from typing import Annotated

import typer


def retrain(
    model: Annotated[str, typer.Argument(help="A model's name; see `clinstream models list`.")],
    why: Annotated[str, typer.Option(help="Why, in words.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Ask for a training run of a model, as a full window of corrections would.

    Example: clinstream retrain icu_mortality --why "quarterly"
    """
    from clinstream import moving

    moving.retrain(model, why=why, as_json=as_json)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(retrain)
