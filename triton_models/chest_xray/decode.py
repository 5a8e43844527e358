"""From the tensors that the model answers to findings; the threshold and the abstention band are the card's."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.card import ModelCard
from schemas.findings import Finding
from triton_models.chest_xray.card import CARD
from triton_models.model import binary_findings
from triton_models.places import enlarged, located, sigmoid

FINER = 4
BEGINS = 0.75
"""Where a region begins: the map has 4 x 4 places, half of its height covers most of a lung."""


def decode(outputs: Mapping[str, npt.NDArray[Any]], card: ModelCard = CARD) -> Sequence[Finding]:
    """One Finding a row of `probability` (rows, 2), with the places of `places` (rows, 4, 4) where that is there."""
    findings = binary_findings(card, outputs)
    if (places := outputs.get("places")) is None:
        return findings
    return [_located(card, finding, grid) for finding, grid in zip(findings, places.astype(np.float64), strict=True)]


def _located(card: ModelCard, finding: Finding, grid: npt.NDArray[np.float64]) -> Finding:
    return located(card, finding, grid, enlarged(grid, FINER), peak=sigmoid(float(grid.max())), begins=BEGINS)
