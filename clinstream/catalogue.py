"""What `clinstream models` knows: the cards, the weights on disk, and the release log where there is a database."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

import triton_models
from adapters import settings as configuration
from adapters.clock import SystemClock
from adapters.database import Database, Release
from adapters.repository import names
from schemas.errors import DatabaseUnavailable, UserError
from triton_models import Model

NO_LOG = "The release log is not known: the stack is not running."


def find(name: str) -> Model:
    """The model of that name; raises UserError with the names there are."""
    known = triton_models.discover()
    if name not in known:
        raise UserError(f"There is no model {name}; choose from: {', '.join(known)}.")
    return known[name]


def release_log() -> Sequence[Release] | None:
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


def brief(model: Model, log: Sequence[Release] | None) -> dict[str, Any]:
    """One line of the list."""
    card = model.card
    states = [row["state"] for row in decisions(model, log) or [] if row["version"] == card.version]
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


def decisions(model: Model, log: Sequence[Release] | None) -> list[dict[str, Any]] | None:
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


def card_of(model: Model) -> dict[str, Any]:
    """The whole card, with the size of the weights and the names that Triton knows the version by."""
    return {**asdict(model.card), "weights_size": _size(model), "served_as": names(model.card)}


def _size(model: Model) -> str:
    if not model.weights_path.is_file():
        return "not trained yet"
    return f"{model.weights_path.stat().st_size / 1e6:.1f} MB"


def plain(value: object) -> object:
    """Sets as sorted lists; everything else on a card is plain already."""
    if isinstance(value, frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not expected on a card")


def show_list(models: Sequence[Model], log: Sequence[Release] | None) -> None:
    """Prints one line a model."""
    table = Table("model", "version", "looks at", "finds", "state", "weights")
    for model in models:
        row = brief(model, log)
        table.add_row(
            row["name"], row["version"], row["consumes"], row["positive_label"], row["state"] or "-", row["weights"]
        )
    console = Console(highlight=False)
    console.print(table)
    if log is None:
        console.print(NO_LOG)


def show(model: Model, log: Sequence[Release] | None) -> None:
    """Prints a card and its decisions for a person."""
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
    if point:
        table.add_row("threshold", f"{point.threshold:g}, measured on {point.measured_on}")
        table.add_row("sensitivity", _interval(point.sensitivity))
        table.add_row("specificity", _interval(point.specificity))
    table.add_row("abstains", f"between {card.abstention_band[0]:g} and {card.abstention_band[1]:g}")
    table.add_row("weights", _size(model))
    table.add_row("served as", ", ".join(names(card)))
    table.add_row("limits", "\n".join(card.limits))
    table.add_row("notice", card.notice)
    console.print(table)
    rows = decisions(model, log)
    if rows is None:
        console.print(NO_LOG)
    for row in rows or []:
        console.print(f"{row['at']}  {row['version']}  {row['state']}  {row['share']:.0%}  {row['by']}: {row['why']}")


def _interval(figure: tuple[float, float, float]) -> str:
    value, low, high = figure
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
