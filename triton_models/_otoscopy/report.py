"""Writes a finished otoscope run to disk: metadata, history and a report to read; measures nothing itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from schemas.card import ModelCard
from triton_models._otoscopy.collection import Division
from triton_models._vision import record
from triton_models.figures import Figure
from triton_models.trained import TrainedModel


def write(
    card: ModelCard,
    onnx: Path,
    division: Division,
    figures: Mapping[str, Figure],
    metrics: Mapping[str, float],
    history: Sequence[Mapping[str, float]],
    recipe: Mapping[str, Any],
    *,
    seed: int,
    quick: bool,
) -> TrainedModel:
    """The run as `TrainedModel`, with metadata.json and report.md beside its ONNX."""
    missed = record.below_floor(card, metrics, "photographs")
    trained = record.write(
        card, onnx, division, figures, metrics, history, recipe, seed=seed, quick=quick, missed=missed
    )
    onnx.with_name("report.md").write_text(_text(trained, card), encoding="utf-8")
    return trained


def _text(trained: TrainedModel, card: ModelCard) -> str:
    parts = [
        f"# {trained.name} {trained.version}: one training run",
        f"{card.title}. {card.notice}",
        f"Intended use: {card.intended_use.statement}.",
        _table("figure", ("value", "95 % interval"), {name: _interval(one) for name, one in trained.figures.items()}),
        _table("metric", ("value",), {name: (f"{value:.4g}",) for name, value in trained.metrics.items()}),
        _table("part", ("count",), {name: (str(count),) for name, count in trained.split_sizes.items()}),
        _table("decision", ("value",), {name: (str(value),) for name, value in sorted(trained.recipe.items())}),
        _table("on", ("",), {name: (value,) for name, value in {**trained.hardware, **trained.dependencies}.items()}),
        f"Seed {trained.seed}; sha256 of the data {trained.data_hash}.",
        "Missed: " + ("; ".join(trained.missed) or "nothing") + ".",
    ]
    return "\n\n".join(parts) + "\n"


def _interval(figure: Figure) -> tuple[str, str]:
    value, low, high = figure
    return f"{value:.3f}", f"{low:.3f}-{high:.3f}"


def _table(name: str, columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    head = [f"| {name} | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return "\n".join([*head, *(f"| {key} | {' | '.join(cells)} |" for key, cells in rows.items())])
