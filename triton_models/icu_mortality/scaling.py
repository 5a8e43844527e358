"""Imputation and scaling, fitted on training rows only and carried into the graph; numpy only."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Row = npt.NDArray[np.float32]
Rows = npt.NDArray[np.float32]
EDGES = (0.01, 0.99)
LEAST_WIDTH, HALF = np.float32(1e-6), np.float32(0.5)


@dataclass(frozen=True, slots=True)
class Scaling:
    """What the graph does to a row before its first layer; each array float32 [62], `edges` [ramps + 1, 62].

    A missing value becomes `median`, every value is cut to `low`..`high` (the training rows' 0.5 and 99.5 percentiles:
    an artefact moves the result no further than the most extreme real value), then (value - mean) / deviation. The
    62 missing flags follow as 0 or 1, because what was not measured says something about the stay. Then each ramp: how
    far the value has come from one edge to the next, -0.5 to 0.5, so that low, middle and high values can each have
    their own slope.
    """

    median: Row
    low: Row
    high: Row
    mean: Row
    deviation: Row
    edges: Rows

    @property
    def ramps(self) -> list[tuple[Row, Row]]:
        """(start, width) of each ramp."""
        return [(start, np.maximum(end - start, LEAST_WIDTH)) for start, end in pairwise(self.edges)]

    def apply(self, rows: Rows) -> Rows:
        """Float32 [rows, 124 + 62 a ramp] from float32 [rows, 62] with NaN where missing; what the graph computes."""
        missing = np.isnan(rows)
        filled = np.where(missing, self.median, rows)
        scaled = (np.clip(filled, self.low, self.high) - self.mean) / self.deviation
        ramps = [np.clip((filled - start) / width, 0, 1) - HALF for start, width in self.ramps]
        return np.concatenate([scaled, missing.astype(np.float32), *ramps], axis=1).astype(np.float32)


def fit(rows: Rows, ramps: int = 0) -> Scaling:
    """Measures `rows`, which must be the training rows and no others; a feature that is never measured scales to 0.

    The edges of the ramps lie evenly between the 1st and 99th percentile of the filled values.
    """
    measured = np.where(np.isnan(rows).all(axis=0), np.float32(0), rows)
    median = np.nanmedian(measured, axis=0)
    low, high = np.nanpercentile(measured, [0.5, 99.5], axis=0)
    filled = np.where(np.isnan(rows), median, rows)
    cut = np.clip(filled, low, high)
    deviation = cut.std(axis=0)
    edges = np.quantile(filled, np.linspace(*EDGES, ramps + 1), axis=0)
    parts = (median, low, high, cut.mean(axis=0), np.where(deviation > 0, deviation, 1.0), edges)
    return Scaling(*(np.asarray(part, dtype=np.float32) for part in parts))
