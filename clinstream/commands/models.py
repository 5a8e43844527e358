"""`clinstream models`: the cards of the models that are here, and what the release log says of them."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import triton_models
from adapters import settings as configuration
from adapters.clock import SystemClock
from adapters.database import Database, Release
from adapters.repository import names
from schemas.errors import DatabaseUnavailable, UserError
from triton_models import Model

app = typer.Typer(help="The models: their cards and releases.", no_args_is_help=True)

NO_LOG = "The release log is not known: the stack is not running."


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="A JSON array, for machines.")] = False) -> None:
    """Every model with its version, what it looks at, and the state that the release log gives it.

    Example: clinstream models list
    """
    found = triton_models.discover()
    log = _release_log()
    if as_json:
        print(json.dumps([_brief(model, log) for model in found.values()]))
        return
    table = Table("model", "version", "looks at", "finds", "state", "weights")
    for model in found.values():
        row = _brief(model, log)
        table.add_row(
            row["name"], row["version"], row["consumes"], row["positive_label"], row["state"] or "-", row["weights"]
        )
    console = Console(highlight=False)
    console.print(table)
    if log is None:
        console.print(NO_LOG)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A model's name.")],
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """One model's whole card: tensors, operating point, intended use, limits, serving; and its release log.

    Example: clinstream models show icu_mortality
    """
    found = triton_models.discover()
    if name not in found:
        raise UserError(f"There is no model {name}; choose from: {', '.join(found)}.")
    model, log = found[name], _release_log()
    if as_json:
        print(json.dumps({**_card(model), "releases": _of(model, log)}, default=_plain))
    else:
        _show(model, log)


def _release_log() -> Sequence[Release] | None:
    """The decisions, oldest first; None when there is no database to ask."""
    return asyncio.run(_read_log())


async def _read_log() -> Sequence[Release] | None:
    database = Database.open(configuration.load(), SystemClock())
    try:
        return await database.releases()
    except DatabaseUnavailable:
        return None
    finally:
        await database.close()


def _brief(model: Model, log: Sequence[Release] | None) -> dict[str, Any]:
    card = model.card
    states = [row["state"] for row in _of(model, log) or [] if row["version"] == card.version]
    return {
        "name": card.name,
        "version": card.version,
        "title": card.title,
        "consumes": card.consumes,
        "positive_label": card.positive_label,
        "state": states[-1] if states else None,
        "weights": _size(model),
        "served_as": names(card),
    }


def _of(model: Model, log: Sequence[Release] | None) -> list[dict[str, Any]] | None:
    """The model's rows of the release log, oldest first; None when the log cannot be read."""
    if log is None:
        return None
    return [
        {
            "epoch": row.epoch,
            "version": row.version,
            "state": row.state,
            "share": row.share,
            "at": row.at.isoformat(),
            "by": row.by_whom,
            "why": row.why,
        }
        for row in log
        if row.task == model.card.name
    ]


def _card(model: Model) -> dict[str, Any]:
    return {**asdict(model.card), "weights_size": _size(model), "served_as": names(model.card)}


def _size(model: Model) -> str:
    if not model.weights_path.is_file():
        return "not trained yet"
    return f"{model.weights_path.stat().st_size / 1e6:.1f} MB"


def _plain(value: object) -> object:
    """Sets as sorted lists; everything else on a card is plain already."""
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not expected on a card")


def _show(model: Model, log: Sequence[Release] | None) -> None:
    card, console = model.card, Console(highlight=False)
    point, use = card.operating_point, card.intended_use
    console.print(f"[bold]{card.name} {card.version}[/bold]: {card.title}. {card.use_status.capitalize()}.")
    table = Table(show_header=False)
    table.add_row("intended use", use.statement)
    limits = {"modality": use.modalities, "body part": use.body_parts, "view": use.views}
    for what, allowed in limits.items():
        if allowed:
            table.add_row(what, ", ".join(sorted(allowed)))
    if use.age_years:
        table.add_row("age", f"{use.age_years[0]:g} to {use.age_years[1]:g} years")
    table.add_row(
        "takes", "; ".join(f"{spec.name} {spec.dtype} {list(spec.shape)}: {spec.unit}" for spec in card.inputs)
    )
    table.add_row("answers", ", ".join(card.labels))
    table.add_row("threshold", f"{point.threshold:g}, measured on {point.measured_on}")
    table.add_row("sensitivity", _interval(point.sensitivity))
    table.add_row("specificity", _interval(point.specificity))
    table.add_row("abstains", f"between {card.abstention_band[0]:g} and {card.abstention_band[1]:g}")
    table.add_row("weights", _size(model))
    table.add_row("served as", ", ".join(names(card)))
    table.add_row("limits", "\n".join(card.limits))
    table.add_row("notice", card.notice)
    console.print(table)
    rows = _of(model, log)
    if rows is None:
        console.print(NO_LOG)
    for row in rows or []:
        console.print(f"{row['at']}  {row['version']}  {row['state']}  {row['share']:.0%}  {row['by']}: {row['why']}")


def _interval(figure: tuple[float, float, float]) -> str:
    value, low, high = figure
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def register(application: typer.Typer) -> None:
    """Adds the group."""
    application.add_typer(app, name="models")
