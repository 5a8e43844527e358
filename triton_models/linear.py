"""The linear baseline of a forecast: least squares on the last twelve grid values, kept as a small JSON file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.errors import UserError

READINGS = 12
FILE = "linear.json"

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Linear:
    """`coefficients` [horizons, 13]: one for each of the last twelve values, the newest first, and the constant."""

    horizons_minutes: Sequence[int]
    coefficients: Floats

    def forecast(self, rows: npt.NDArray[np.float32]) -> Floats:
        """mg/dL [rows, horizons] from grid rows, the newest value first, NaN in a gap."""
        found: Floats = _design(rows) @ self.coefficients.T
        return found

    def save(self, folder: Path) -> None:
        """Writes `linear.json`."""
        record = {
            "horizons_minutes": list(self.horizons_minutes),
            "newest_first_then_constant": self.coefficients.round(6).tolist(),
        }
        (folder / FILE).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def fit(rows: npt.NDArray[np.float32], truth: npt.NDArray[np.float32], horizons: Sequence[int]) -> Linear:
    """Least squares for each horizon over the rows whose truth [rows, horizons] is known there."""
    design, found = _design(rows), []
    for place in range(len(horizons)):
        known = np.isfinite(truth[:, place])
        found.append(np.linalg.lstsq(design[known], truth[known, place], rcond=None)[0])
    return Linear(tuple(horizons), np.stack(found))


def load(folder: Path) -> Linear:
    """The baseline beside a model's weights; raises UserError when it is missing or broken."""
    try:
        record = json.loads((folder / FILE).read_text(encoding="utf-8"))
        coefficients = np.array(record["newest_first_then_constant"], dtype=np.float64)
        horizons = tuple(int(minutes) for minutes in record["horizons_minutes"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / FILE} is not a linear baseline: {error}") from None
    if coefficients.shape != (len(horizons), READINGS + 1):
        raise UserError(f"{folder / FILE} must hold {READINGS + 1} coefficients for each of {len(horizons)} horizons.")
    return Linear(horizons, coefficients)


def _design(rows: npt.NDArray[np.float32]) -> Floats:
    """Twelve values and a one a row; a gap takes the value that follows it in time, never one from the future."""
    filled = rows[:, :READINGS].astype(np.float64)
    for slot in range(1, READINGS):
        gap = np.isnan(filled[:, slot])
        filled[gap, slot] = filled[gap, slot - 1]
    return np.concatenate([filled, np.ones((len(rows), 1))], axis=1)
