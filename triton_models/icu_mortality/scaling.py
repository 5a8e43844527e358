"""Imputation and scaling, fitted on training rows only and carried into the graph; numpy only."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[np.float32]
Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scaling:
    """What the graph does to a row before its first layer; each array float32 [62].

    A missing value becomes `median`, every value is cut to `low`..`high` (the training rows' 0.5 and 99.5 percentiles:
    an artefact moves the result no further than the most extreme real value), then (value - mean) / deviation. The
    62 missing flags follow as 0 or 1, because what was not measured says something about the stay.
    """

    median: Row
    low: Row
    high: Row
    mean: Row
    deviation: Row

    def apply(self, rows: Rows) -> Rows:
        """Float32 [rows, 124] from float32 [rows, 62] with NaN where missing; what the graph computes."""
        missing = np.isnan(rows)
        cut = np.clip(np.where(missing, self.median, rows), self.low, self.high)
        scaled = (cut - self.mean) / self.deviation
        return np.concatenate([scaled, missing.astype(np.float32)], axis=1).astype(np.float32)


def fit(rows: Rows) -> Scaling:
    """Measures `rows`, which must be the training rows and no others; a feature that is never measured scales to 0."""
    measured = np.where(np.isnan(rows).all(axis=0), np.float32(0), rows)
    median = np.nanmedian(measured, axis=0)
    low, high = np.nanpercentile(measured, [0.5, 99.5], axis=0)
    cut = np.clip(np.where(np.isnan(rows), median, rows), low, high)
    deviation = cut.std(axis=0)
    parts = (median, low, high, cut.mean(axis=0), np.where(deviation > 0, deviation, 1.0))
    return Scaling(*(np.asarray(part, dtype=np.float32) for part in parts))
