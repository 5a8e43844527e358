"""A glucose model for tests of what is fitted to it; no Triton, no network."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from triton_models.glucose.card import HORIZONS_MINUTES
from triton_models.glucose.preprocess import WIDTH


class Flat:
    """A model that expects the newest reading to stay, in requests no larger than the card allows."""

    rows = 0

    def __init__(self) -> None:
        self.asked: set[str] = set()

    async def infer(
        self, model: str, inputs: Mapping[str, Any], *, priority: int, deadline_s: float
    ) -> dict[str, np.ndarray]:
        (rows,) = inputs.values()
        assert rows.shape[1] == WIDTH
        assert len(rows) <= 256
        self.rows += len(rows)
        self.asked.add(model)
        return {"forecast": np.repeat(rows[:, :1], 3 * len(HORIZONS_MINUTES), axis=1).reshape(len(rows), -1, 3)}

    async def ready(self, model: str) -> bool:
        return True

    def deadline_s(self, model: str) -> float:
        return 1.0
