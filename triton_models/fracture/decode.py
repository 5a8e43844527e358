"""From the tensors that the model answers to findings; the threshold and the abstention band are the card's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.card import ModelCard
from schemas.findings import Finding
from triton_models.fracture.card import CARD
from triton_models.model import binary_findings
from triton_models.places import located, worst_of

FINE, COARSER = 2, 2
"""Places a step of what regions are found in, and steps of that a step of the heat map that travels."""
BEGINS = 0.5


def decode(outputs: Mapping[str, npt.NDArray[Any]], card: ModelCard = CARD) -> Sequence[Finding]:
    """One Finding a row of `probability` (rows, 2), with the places of `places` (rows, 52, 32) where that is there."""
    findings = binary_findings(card, outputs)
    if (places := outputs.get("places")) is None:
        return findings
    return [_located(card, finding, grid) for finding, grid in zip(findings, places.astype(np.float64), strict=True)]


def _located(card: ModelCard, finding: Finding, grid: npt.NDArray[np.float64]) -> Finding:
    fine = worst_of(grid, FINE)
    return located(card, finding, worst_of(fine, COARSER), fine, peak=float(fine.max()), begins=BEGINS)
