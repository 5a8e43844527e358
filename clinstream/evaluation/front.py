"""What `clinstream evaluate` does once its words are understood: picks the data, runs, shows the verdict."""

from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import triton_models
from adapters.repository import Entry
from adapters.settings import Settings
from clinstream.evaluation import cases as reading
from clinstream.evaluation.cases import Cases
from clinstream.evaluation.judge import Verdict, judge
from clinstream.evaluation.server import serving
from schemas.errors import UserError
from triton_models import Model
from triton_models.figures import Figure


def model(name: str) -> Model:
    """The model of that name; raises UserError with the names there are."""
    known = triton_models.discover()
    if name not in known:
        raise UserError(f"There is no model {name}; choose from: {', '.join(known)}.")
    return known[name]


def cases(model: Model, manifest: Path | None, root: Path | None, table: Path | None, target: str | None) -> Cases:
    """The cases of whichever data the model takes; raises UserError for the wrong kind or a part that is missing."""
    if model.card.consumes == "image":
        if manifest is None:
            raise UserError(f"{model.card.name} looks at pictures: name them with --manifest FILE [--root FOLDER].")
        return reading.from_manifest(model, manifest, root or manifest.parent)
    if table is None or target is None:
        raise UserError(f"{model.card.name} takes measurements: name them with --table FILE --target COLUMN.")
    return reading.from_table(model, table, target)


async def run(settings: Settings, model: Model, cases: Cases) -> Verdict:
    """The verdict over the cases, with a bar on stderr where that is a terminal."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{model.card.name}: {len(cases.judged)} cases", total=len(cases.judged))
        async with serving(settings, [Entry(model.card, model.weights_path)]) as (client, served_by):
            return await judge(model, cases, client, served_by, lambda done: bar.advance(task, done))


def show(model: Model, verdict: Verdict) -> None:
    """Prints the verdict for a person."""
    console = Console(highlight=False)
    rows = Table("figure", "value", "95 % interval", title=f"{verdict.model} {verdict.version}, {verdict.served_by}")
    for name, figure in _rows(verdict):
        rows.add_row(name, *_words(figure))
    console.print(rows)
    left_out = len(verdict.left_out)
    asked = f"{verdict.n} cases" + (f", {verdict.positives} {model.card.positive_label}" if not verdict.classes else "")
    console.print(
        f"{asked}; {verdict.abstained} in the abstention band; {left_out - len(verdict.unreadable)} refused, "
        f"{len(verdict.unreadable)} not readable, {verdict.not_asked} outside the question."
    )
    console.print(model.card.notice)


def _rows(verdict: Verdict) -> list[tuple[str, Figure]]:
    classes = verdict.classes
    if classes is None:
        return [
            ("AUROC", verdict.auroc),
            (f"sensitivity at {verdict.threshold:g}", verdict.sensitivity),
            (f"specificity at {verdict.threshold:g}", verdict.specificity),
        ]
    rows = [("balanced accuracy", classes.balanced_accuracy), ("AUROC, mean of classes", verdict.auroc)]
    for label, found in classes.per_class.items():
        rows += [(f"{label}: sensitivity", found.sensitivity), (f"{label}: specificity", found.specificity)]
    return rows


def _words(figure: Figure) -> tuple[str, str]:
    value, low, high = figure
    return f"{value:.3f}", f"{low:.3f} to {high:.3f}"
