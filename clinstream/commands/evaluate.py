"""`clinstream evaluate`: how a model, as served, does on labelled data; the work is in `clinstream.evaluation`."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import triton_models
from adapters import settings as configuration
from adapters.repository import Entry
from adapters.settings import Settings
from clinstream.evaluation import cases as reading
from clinstream.evaluation.cases import Case
from clinstream.evaluation.judge import Verdict, judge
from clinstream.evaluation.server import serving
from schemas.errors import UserError
from triton_models import Model
from triton_models.figures import Figure

SHOWN = 20


def evaluate(
    model: Annotated[str, typer.Argument(help="A model's name; see `clinstream models list`.")],
    manifest: Annotated[Path | None, typer.Option(help="Pictures: a CSV with path,label[,group].")] = None,
    root: Annotated[Path | None, typer.Option(help="The folder that the paths start from.")] = None,
    table: Annotated[Path | None, typer.Option(help="Measurements: a CSV or .csv.gz with a column a feature.")] = None,
    target: Annotated[str | None, typer.Option(help="The column of the table that holds 0 or 1.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
    home: Annotated[Path | None, typer.Option(help="The installation's state folder.")] = None,
) -> None:
    """Run a model as served over labelled data: sensitivity, specificity and AUROC with 95 % intervals.

    Uses the running stack's Triton where there is one, else starts one for the while. Rows that the model refuses are
    counted; rows that cannot be read are named, and the exit code is then 1.

    Examples: clinstream evaluate chest_xray --manifest cases.csv --root pictures ·
    clinstream evaluate icu_mortality --table stays.csv.gz --target In-hospital_death --json
    """
    chosen = _model(model)
    found = _cases(chosen, manifest, root, table, target)
    verdict = asyncio.run(_judge(configuration.load(home), chosen, found))
    for case in verdict.unreadable[:SHOWN]:
        sys.stderr.write(f"not readable: {case.name}: {case.reason}\n")
    if len(verdict.unreadable) > SHOWN:
        sys.stderr.write(f"... and {len(verdict.unreadable) - SHOWN} more rows that cannot be read\n")
    if as_json:
        print(json.dumps(verdict.json()))
    else:
        _show(chosen, verdict)
    raise typer.Exit(1 if verdict.unreadable else 0)


def _model(name: str) -> Model:
    known = triton_models.discover()
    if name not in known:
        raise UserError(f"There is no model {name}; choose from: {', '.join(known)}.")
    return known[name]


def _cases(
    model: Model, manifest: Path | None, root: Path | None, table: Path | None, target: str | None
) -> list[Case]:
    """The cases of whichever data the model takes; raises UserError for the wrong kind or a part that is missing."""
    if model.card.consumes == "image":
        if manifest is None:
            raise UserError(f"{model.card.name} looks at pictures: name them with --manifest FILE [--root FOLDER].")
        return reading.from_manifest(model, manifest, root or manifest.parent)
    if table is None or target is None:
        raise UserError(f"{model.card.name} takes measurements: name them with --table FILE --target COLUMN.")
    return reading.from_table(model, table, target)


async def _judge(settings: Settings, model: Model, cases: list[Case]) -> Verdict:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{model.card.name}: {len(cases)} cases", total=len(cases))
        async with serving(settings, [Entry(model.card, model.weights_path)]) as (client, served_by):
            return await judge(model, cases, client, served_by, lambda done: bar.advance(task, done))


def _show(model: Model, verdict: Verdict) -> None:
    console = Console(highlight=False)
    rows = Table("figure", "value", "95 % interval", title=f"{verdict.model} {verdict.version}, {verdict.served_by}")
    for name, figure in (
        ("AUROC", verdict.auroc),
        (f"sensitivity at {verdict.threshold:g}", verdict.sensitivity),
        (f"specificity at {verdict.threshold:g}", verdict.specificity),
    ):
        rows.add_row(name, *_words(figure))
    console.print(rows)
    left_out = len(verdict.left_out)
    console.print(
        f"{verdict.n} cases, {verdict.positives} {model.card.positive_label}; {verdict.abstained} in the abstention "
        f"band; {left_out - len(verdict.unreadable)} refused, {len(verdict.unreadable)} not readable."
    )
    console.print(model.card.notice)


def _words(figure: Figure) -> tuple[str, str]:
    value, low, high = figure
    return f"{value:.3f}", f"{low:.3f} to {high:.3f}"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(evaluate)
