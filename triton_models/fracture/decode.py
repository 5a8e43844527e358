"""From the tensors that the model answers to findings; the threshold and the abstention band are the card's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from schemas.card import ModelCard
from schemas.findings import Finding
from triton_models.fracture.card import CARD
from triton_models.model import binary_findings


def decode(outputs: Mapping[str, npt.NDArray[Any]], card: ModelCard = CARD) -> Sequence[Finding]:
    """One Finding a row of `probability` (rows, 2); the map of places is for people who look at it."""
    return binary_findings(card, outputs)
