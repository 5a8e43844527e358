"""`clinstream train`: trains a candidate as the worker would; nothing that is served changes."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import UserError

if TYPE_CHECKING:
    from training.run import Say
    from triton_models.trained import TrainedModel

EPOCH = re.compile(r"epoch (\d+) of (?:at most )?(\d+)")


def train(
    model: Annotated[str, typer.Argument(help="A model's name; see `clinstream models list`.")],
    data: Annotated[Path, typer.Option(help="The folder (or file) with the labelled data.")],
    out: Annotated[Path | None, typer.Option(help="The folder for the run; default runs/MODEL-TIME.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A rehearsal: a few steps through everything.")] = False,
    seed: Annotated[int | None, typer.Option(help="Another seed than the model's own.")] = None,
    init: Annotated[Path | None, typer.Option(help="Weights to start from instead of chance.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Train a candidate of a model: weights, metadata, history and charts go to a folder of their own.

    Examples: clinstream train icu_mortality --data tables · clinstream train chest_xray --data pictures --quick
    """
    # Imported on use, as every other command would wait for the models.
    from training.run import Order, run

    folder = out or Path("runs") / f"{model}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    order = Order(model, data, folder, quick, seed, init)
    try:
        with _progress(model) as say:
            trained = run(order, say)
    except ImportError as lacking:
        raise UserError(
            f"Training needs {lacking.name}, which serving does not: install requirements/train.lock."
        ) from None
    if as_json:
        print(json.dumps(asdict(trained) | {"onnx": str(trained.onnx), "out": str(folder)}))
    else:
        _show(trained, folder)


@contextmanager
def _progress(model: str) -> Iterator["Say"]:
    """A bar on stderr that follows lines like "epoch 3 of 24"; plain lines where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda line: console.print(line, soft_wrap=True)
        return
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(model, total=None)

        def say(line: str) -> None:
            found = EPOCH.search(line)
            if found:
                bar.update(task, completed=int(found[1]), total=int(found[2]))
            bar.update(task, description=f"{model}: {line[:100]}")

        yield say


def _show(trained: "TrainedModel", folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table("figure", "value", "95 % interval", title=f"{trained.name}, seed {trained.seed}")
    for name, (value, low, high) in trained.figures.items():
        table.add_row(name.replace("_", " "), f"{value:.3f}", f"{low:.3f} to {high:.3f}")
    console.print(table)
    if trained.quick:
        console.print("This was a rehearsal; its figures say nothing.")
    for sentence in trained.missed:
        console.print(f"Missed: {sentence}.")
    console.print(f"The candidate lies in {folder}: {trained.onnx.name}, metadata.json, history.json and charts.")


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(train)
