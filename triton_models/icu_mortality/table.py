"""The labelled table of this model: finding it, refusing what cannot be trained on, splitting it; no torch."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.errors import UserError
from triton_models import tables
from triton_models.icu_mortality.preprocess import FEATURES, prepare
from triton_models.tables import Table

TARGET = "In-hospital_death"
LEAST_ROWS = 200
LEAST_OF_CLASS = 20
SPLIT_SEED = 62
PARTS = {"train": 0.70, "validation": 0.15, "test": 0.15}


def read(path: Path) -> Table:
    """The labelled stays of a CSV; see `triton_models.tables.read`."""
    return tables.read(path, FEATURES, TARGET, prepare)


def find(data_dir: Path) -> Path:
    """The one table of a folder (or the file itself); raises UserError when there is none or more than one."""
    if data_dir.is_file():
        return data_dir
    found = [path for path in sorted(data_dir.rglob("*.csv*")) if TARGET in tables.header(path)]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UserError(
            f"{data_dir} must hold one CSV (or .csv.gz) with the column {TARGET}; found {names}. "
            "Name the file itself with --data."
        )
    return found[0]


def split(died: npt.NDArray[np.bool_], seed: int = SPLIT_SEED) -> dict[str, npt.NDArray[np.int64]]:
    """Row numbers of `train`, `validation` and `test` (70/15/15), the same share of deaths in each, fixed by `seed`.

    Runs with other training seeds keep the division, so that the test rows stay unseen for all of them. A row is one
    stay of one patient, so rows need no grouping. Raises UserError below 200 labelled rows, or when a class has too
    few rows to appear in every part.
    """
    if len(died) < LEAST_ROWS:
        raise UserError(
            f"Training needs at least {LEAST_ROWS} labelled rows and got {len(died)}: with fewer, the figures of the "
            "held-back rows would mean nothing. Collect more rows."
        )
    rng = np.random.default_rng(seed)
    parts: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in PARTS}
    for outcome in (False, True):
        rows = rng.permutation(np.flatnonzero(died == outcome))
        if len(rows) < LEAST_OF_CLASS:
            raise UserError(
                f"Only {len(rows)} rows have {TARGET} = {int(outcome)}; training needs {LEAST_OF_CLASS} of each."
            )
        first = round(PARTS["train"] * len(rows))
        second = first + round(PARTS["validation"] * len(rows))
        for name, part in zip(PARTS, np.split(rows, [first, second]), strict=True):
            parts[name].append(part)
    return {name: np.sort(np.concatenate(pieces)) for name, pieces in parts.items()}
