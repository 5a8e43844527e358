"""The labelled rows of this model: finding the files, refusing what cannot be trained on, dividing them; no torch.

A folder holds one base table and, where wanted, `corrections.csv` (rows whose outcome a person has set right),
`holdout.csv` (the frozen rows that every version is judged by) and beside it `validation.csv`; each plain or `.gz`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
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
KNOWN_PARTS = {"train": 0.70 / 0.85, "validation": 0.15 / 0.85}
CORRECTIONS, HOLDOUT, VALIDATION = "corrections", "holdout", "validation"

Rows = npt.NDArray[np.float32]
Labels = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Divided:
    """Rows [n, 62] and outcomes by part (train, validation, test), with what became of the rest.

    `refused` counts rows that the model must not see; `corrected` the corrections that are in `train`, `withheld` those
    left out because the same stay chooses or judges.
    """

    rows: Mapping[str, Rows]
    died: Mapping[str, Labels]
    refused: int
    corrected: int = 0
    withheld: int = 0

    @property
    def digest(self) -> str:
        """SHA-256 over all rows and outcomes, part by part."""
        found = hashlib.sha256()
        for part, rows in self.rows.items():
            found.update(rows.tobytes() + self.died[part].tobytes())
        return found.hexdigest()


def read(path: Path) -> Table:
    """The labelled stays of a CSV; see `triton_models.tables.read`."""
    return tables.read(path, FEATURES, TARGET, prepare)


def find(data_dir: Path) -> Path:
    """The one base table of a folder (or the file itself); raises UserError when there is none or more than one."""
    if data_dir.is_file():
        return data_dir
    others = {CORRECTIONS, HOLDOUT, VALIDATION}
    tabular = [path for path in sorted(data_dir.rglob("*.csv*")) if path.name.partition(".")[0] not in others]
    found = [path for path in tabular if TARGET in tables.header(path)]
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise UserError(
            f"{data_dir} must hold one CSV (or .csv.gz) with the column {TARGET}; found {names}. "
            "Name the file itself with --data."
        )
    return found[0]


def holdout(data: Path) -> Path:
    """The frozen hold-out of a folder (or the file itself); raises UserError when there is none."""
    found = data if data.is_file() else _named(data, HOLDOUT)
    if found is None:
        raise UserError(f"{data} holds no {HOLDOUT}.csv or {HOLDOUT}.csv.gz.")
    return found


def divide(data: Path) -> Divided:
    """The parts of the table or folder `data`.

    Without a frozen hold-out the base table is split 70/15/15. With one, a stay in it is in no other part, and the rest
    of the base table is training and validation rows in the same proportion, or training rows alone beside a
    `validation` file. Corrections join the training rows alone: one whose features are those of a training row replaces
    it, one whose features are in validation or hold-out is left out.
    """
    base, frozen = read(find(data)), _read_named(data, HOLDOUT)
    chosen, corrections = _read_named(data, VALIDATION), _read_named(data, CORRECTIONS)
    if chosen is not None and frozen is None:
        raise UserError(f"{data} holds a {VALIDATION} file but no {HOLDOUT}.csv: a choice needs rows to be judged by.")
    refused = sum(_refused(part) for part in (base, frozen, chosen) if part is not None)
    if frozen is None:
        divided = Divided(*_picked(base.rows, base.positive, PARTS), refused)
    else:
        apart = {"test": frozen} | ({"validation": chosen} if chosen is not None else {})
        kept = ~_among(base.rows, np.concatenate([part.rows for part in apart.values()]))
        shares = {"train": 1.0} if chosen is not None else KNOWN_PARTS
        rows, died = _picked(base.rows[kept], base.positive[kept], shares)
        for name, part in sorted(apart.items(), reverse=True):
            if len(set(part.positive.tolist())) < 2:
                raise UserError(f"The {name} rows of {data} must hold both outcomes of {TARGET}.")
            rows[name], died[name] = part.rows, part.positive
        divided = Divided(rows, died, refused)
    return divided if corrections is None else _corrected(divided, corrections)


def thin(divided: Divided, share: float) -> Divided:
    """The same with only `share` of its training rows, the same share of each outcome; the other parts stay."""
    if share == 1.0:
        return divided
    rng, died = np.random.default_rng(SPLIT_SEED), divided.died["train"]
    groups = [rng.permutation(np.flatnonzero(died == outcome)) for outcome in (False, True)]
    kept = np.sort(np.concatenate([group[: round(share * len(group))] for group in groups]))
    return Divided(
        {**divided.rows, "train": divided.rows["train"][kept]},
        {**divided.died, "train": died[kept]},
        divided.refused,
        divided.corrected,
        divided.withheld,
    )


def split(died: Labels, seed: int = SPLIT_SEED, parts: Mapping[str, float] = PARTS) -> dict[str, npt.NDArray[np.int64]]:
    """Row numbers of each of `parts` (70/15/15), the same share of deaths in each, fixed by `seed`.

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
    found: dict[str, list[npt.NDArray[np.int64]]] = {name: [] for name in parts}
    for outcome in (False, True):
        rows = rng.permutation(np.flatnonzero(died == outcome))
        if len(rows) < LEAST_OF_CLASS:
            raise UserError(
                f"Only {len(rows)} rows have {TARGET} = {int(outcome)}; training needs {LEAST_OF_CLASS} of each."
            )
        cuts = list(accumulate(round(share * len(rows)) for share in parts.values()))[:-1]
        for name, part in zip(parts, np.split(rows, cuts), strict=True):
            found[name].append(part)
    return {name: np.sort(np.concatenate(pieces)) for name, pieces in found.items()}


def _corrected(divided: Divided, corrections: Table) -> Divided:
    """`divided` with the corrections in its training part; the last correction of a stay counts."""
    newest = {key: place for place, key in enumerate(_keys(corrections.rows))}
    judging = {key for part in ("validation", "test") for key in _keys(divided.rows[part])}
    used = [place for key, place in newest.items() if key not in judging]
    added = corrections.rows[used]
    kept = ~_among(divided.rows["train"], added)
    rows = np.concatenate([divided.rows["train"][kept], added])
    died = np.concatenate([divided.died["train"][kept], corrections.positive[used]])
    return Divided(
        {**divided.rows, "train": rows},
        {**divided.died, "train": died},
        divided.refused + _refused(corrections),
        corrected=len(used),
        withheld=len(newest) - len(used),
    )


def _keys(rows: Rows) -> list[bytes]:
    """What tells one stay from another: its features, bit by bit (adding zero makes -0 and 0 the same)."""
    return [(row + np.float32(0)).tobytes() for row in rows]


def _among(rows: Rows, others: Rows) -> Labels:
    """Which rows have the features of one of `others`."""
    known = set(_keys(others))
    return np.array([key in known for key in _keys(rows)], dtype=np.bool_)


def _picked(rows: Rows, died: Labels, parts: Mapping[str, float]) -> tuple[dict[str, Rows], dict[str, Labels]]:
    """The rows and outcomes of each of `parts`, drawn by `split`."""
    places = split(died, parts=parts)
    return {part: rows[place] for part, place in places.items()}, {part: died[place] for part, place in places.items()}


def _refused(found: Table) -> int:
    return len(found.refused) + len(found.unreadable)


def _read_named(data: Path, name: str) -> Table | None:
    found = _named(data, name)
    return read(found) if found else None


def _named(data: Path, name: str) -> Path | None:
    paths = [data / f"{name}{ending}" for ending in (".csv", ".csv.gz")]
    return next((path for path in paths if path.is_file()), None)
