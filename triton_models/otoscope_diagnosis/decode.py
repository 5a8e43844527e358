"""From the tensors that the model answers to findings; no server, no lineage."""

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from schemas.card import ModelCard
from schemas.findings import Finding
from triton_models.model import class_findings
from triton_models.otoscope_diagnosis.card import CARD


def decode(outputs: Mapping[str, npt.NDArray[Any]], card: ModelCard = CARD) -> list[Finding]:
    """One finding a row: the likeliest condition, abstained where even that one is not likely enough."""
    return class_findings(card, outputs)
