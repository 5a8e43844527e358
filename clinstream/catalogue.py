"""What `clinstream models` knows: the cards, the weights on disk, and the release log where there is a database."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

import triton_models
from adapters import settings as configuration
from adapters import versions
from adapters.clock import SystemClock
from adapters.database import Database, Release, Version
from adapters.repository import names
from schemas.errors import DatabaseUnavailable, UserError
from training import release
from triton_models import Model

NO_LOG = "The release log is not known: the stack is not running."


def find(name: str) -> Model:
    """The model of that name; raises UserError with the names there are."""
    known = triton_models.discover()
    if name not in known:
        raise UserError(f"There is no model {name}; choose from: {', '.join(known)}.")
    return known[name]


@dataclass(frozen=True, slots=True)
class Known:
    """What the database says: the release log, oldest first, and the trained versions. `log` is None without one."""

    log: Sequence[Release] | None
    trained: Sequence[Version]


def known() -> Known:
    """What the database knows of versions; nothing when there is none to ask."""
    return asyncio.run(_read())


async def _read() -> Known:
    database = Database.open(configuration.load(), SystemClock())
    try:
        return Known(await database.releases(), await database.versions())
    except DatabaseUnavailable:
        return Known(None, ())
    finally:
        await database.close()


def versions_of(model: Model, known: Known) -> list[dict[str, Any]]:
    """One line of the list for the card's version and for each trained one, in the order in which they came."""
    card = model.card
    states = release.standing(known.log, card.name).states if known.log is not None else {}
    own: dict[str, Any] = {
        "name": card.name,
        "version": card.version,
        "title": card.title,
        "consumes": card.consumes,
        "positive_label": card.positive_label,
        "state": states.get(card.version),
        "source": "packaged",
        "approved_by": "",
        "weights": _size(model),
        "served_as": names(card),
        "use_status": card.use_status,
    }
    trained = [
        {
            **own,
            "version": each.version,
            "state": states.get(each.version),
            "source": "trained" if each.request_id else "brought",
            "approved_by": each.approved_by,
            "weights": each.weights_sha256[:12],
            "served_as": names(versions.card_of(card, each)),
        }
        for each in known.trained
        if each.task == card.name
    ]
    return [own, *trained]


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


def show_list(models: Sequence[Model], known: Known) -> None:
    """Prints one line a version."""
    table = Table()
    for name in ("model", "version", "state", "source"):
        table.add_column(name, no_wrap=True)
    for name in ("finds", "approved by", "weights"):
        table.add_column(name)
    for model in models:
        for row in versions_of(model, known):
            cells = (row["name"], row["version"], row["state"] or "-", row["source"], row["positive_label"] or "-")
            table.add_row(*cells, row["approved_by"] or "-", row["weights"])
    console = Console(highlight=False)
    console.print(table)
    if known.log is None:
        console.print(NO_LOG)


def show(model: Model, known: Known) -> None:
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
    rows = decisions(model, known.log)
    if rows is None:
        console.print(NO_LOG)
    for row in rows or []:
        console.print(f"{row['at']}  {row['version']}  {row['state']}  {row['share']:.0%}  {row['by']}: {row['why']}")


def _interval(figure: tuple[float, float, float]) -> str:
    value, low, high = figure
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
