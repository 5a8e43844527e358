"""Writes the record of a finished run of an image network: metadata and history beside its ONNX; measures nothing."""

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version as installed
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from schemas.card import ModelCard
from triton_models.figures import Figure
from triton_models.trained import TrainedModel, machine

PACKAGES = ("numpy", "pillow", "onnx", "onnxruntime", "torch")


class Divided(Protocol):
    """A collection in parts, of which the record keeps the sizes and the hash of all bytes."""

    @property
    def data_hash(self) -> str: ...

    def sizes(self) -> dict[str, int]:
        """Rows by part and class."""
        ...


def write(
    card: ModelCard,
    onnx: Path,
    division: Divided,
    figures: Mapping[str, Figure],
    metrics: Mapping[str, float],
    history: Sequence[Mapping[str, float]],
    recipe: Mapping[str, Any],
    *,
    seed: int,
    quick: bool,
    missed: Sequence[str] = (),
    versions: Mapping[str, str] = MappingProxyType({}),
) -> TrainedModel:
    """The run as `TrainedModel`, with metadata.json and history.json beside its ONNX.

    `versions` are of packages that say more about themselves than their installation does.
    """
    trained = TrainedModel(
        name=card.name,
        version=card.version,
        onnx=onnx,
        seed=seed,
        quick=quick,
        metrics=dict(metrics) | {"loss": history[-1]["loss"], "epochs": float(len(history))},
        figures=figures,
        split_sizes=division.sizes(),
        recipe=recipe,
        hardware=machine(),
        dependencies={package: installed(package) for package in PACKAGES} | dict(versions),
        data_hash=division.data_hash,
        missed=missed,
    )
    trained.write_metadata(onnx.with_name("metadata.json"))
    onnx.with_name("history.json").write_text(json.dumps(list(history), indent=1) + "\n", encoding="utf-8")
    return trained


def below_floor(card: ModelCard, metrics: Mapping[str, float], cases: str) -> list[str]:
    """What to try where the metric of the card's gate stays below its floor; nothing where it does not."""
    metric, floor = card.gate.metric, card.gate.floor
    if metrics[metric] >= floor:
        return []
    return [f"{metric} {metrics[metric]:.3f} is below its floor of {floor}: add {cases}, then epochs"]
