"""From the tensors that the model answers to findings; no server, no lineage."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from schemas.card import ModelCard
from schemas.findings import Finding
from triton_models.chest_xray.card import CARD


def decode(outputs: Mapping[str, npt.NDArray[np.float32]], card: ModelCard = CARD) -> list[Finding]:
    """One finding a row of `probability` [batch, 2] in the order of the card's labels.

    A score inside the abstention band (inclusive) keeps its label and is marked as abstained. Raises ValueError where
    a row is not a probability distribution: then the served graph is not the card's.
    """
    rows = np.asarray(outputs[card.outputs[0].name], dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != len(card.labels):
        raise ValueError(f"expected [batch, {len(card.labels)}] probabilities, got {rows.shape}")
    if not np.isfinite(rows).all() or np.abs(rows.sum(axis=1) - 1.0).max(initial=0.0) > 1e-3:
        raise ValueError("the model answered rows that are not probabilities")
    positive = list(card.labels).index(card.positive_label)
    threshold, (low, high) = card.threshold, card.abstention_band
    found = []
    for row in rows:
        score = float(row[positive])
        label = card.positive_label if score >= threshold else card.labels[1 - positive]
        found.append(
            Finding(
                label=label,
                score=score,
                threshold=threshold,
                probabilities={name: float(value) for name, value in zip(card.labels, row, strict=True)},
                abstained=low <= score <= high,
            )
        )
    return found
