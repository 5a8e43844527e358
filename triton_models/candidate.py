"""The card of trained weights that are not those of the model folder: what their run measured, in the card's terms."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from schemas.card import ModelCard, OperatingPoint
from schemas.errors import UserError
from triton_models.figures import Figure


def card_of(card: ModelCard, metadata: Path, version: str = "") -> ModelCard:
    """`card` with the version, operating point and abstention band of the run that wrote `metadata` (metadata.json).

    `version` replaces the run's. A task without an operating point keeps its card but for the version. Raises UserError
    for a file of another model, or one that lacks what the card needs.
    """
    try:
        record: Mapping[str, Any] = json.loads(metadata.read_text(encoding="utf-8"))
        if record["name"] != card.name:
            raise UserError(f"{metadata} is of {record['name']}, not of {card.name}.")
        named = replace(card, version=version or record["version"])
        if card.operating_point is None:
            return named
        metrics, figures = record["metrics"], record["figures"]
        rows = {label: size for label, size in record["split_sizes"].items() if label.startswith("test")}
        point = OperatingPoint(
            threshold=metrics["threshold"],
            sensitivity=_figure(figures["test_sensitivity"]),
            specificity=_figure(figures["test_specificity"]),
            measured_on=f"{sum(rows.values())} held-back rows of data {record['data_hash'][:12]}",
        )
        band = (metrics["abstention_low"], metrics["abstention_high"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{metadata} is not the metadata.json of a run of {card.name}: {error!r}") from None
    return replace(named, operating_point=point, abstention_band=band)


def _figure(values: Any) -> Figure:
    value, low, high = (float(number) for number in values)
    return value, low, high
