"""From the tensors that the model answers to findings; no server, no lineage."""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from schemas.card import ModelCard
from schemas.findings import Finding
from triton_models.model import binary_findings
from triton_models.otoscope_screening.card import CARD


def decode(outputs: Mapping[str, npt.NDArray[Any]], card: ModelCard = CARD) -> list[Finding]:
    """One finding a row: `abnormal` from the threshold on, else that none of the trained conditions was seen."""
    return binary_findings(card, outputs)
