"""Recognises readings that weights were trained on, whatever the file or its subjects are called; no weights here."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from triton_models.series import Series

Hashes = npt.NDArray[np.uint64]
# A run of so many readings in a row (rounded to whole mg/dL) is hashed where it holds enough different values; one of
# `RARITY` hashes is kept, so that a thousand readings in common are enough to be found.
RUN, DIFFERENT, RARITY = 12, 8, 256
ALIKE = 3
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def sketch(series: Iterable[Series]) -> Hashes:
    """Hashes of some runs of the readings, ascending; which ones depends on the values alone."""
    found = [_of(np.round(one.glucose_mg_dl).astype(np.int64)) for one in series if len(one) >= RUN]
    return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.uint64)


def alike(first: Hashes, second: Hashes) -> bool:
    """Whether two sketches have so many runs in common that they come of the same readings."""
    return len(np.intersect1d(first, second)) >= ALIKE


def _of(values: npt.NDArray[np.int64]) -> Hashes:
    runs = np.lib.stride_tricks.sliding_window_view(values, RUN)
    runs = runs[(np.diff(np.sort(runs, axis=1), axis=1) > 0).sum(axis=1) + 1 >= DIFFERENT]
    mixed = np.zeros(len(runs), dtype=np.uint64)
    for place in range(RUN):
        mixed = (mixed ^ runs[:, place].astype(np.uint64)) * _FACTOR
        mixed ^= mixed >> np.uint64(29)
    kept: Hashes = mixed[mixed % np.uint64(RARITY) == 0]
    return kept
