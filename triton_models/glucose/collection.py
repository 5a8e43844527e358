"""The readings to train on: finding the files, dividing people and time, cutting windows; no torch."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.errors import UserError
from triton_models import series
from triton_models.glucose import preprocess
from triton_models.glucose.card import HORIZONS_MINUTES
from triton_models.series import Series

SPLIT_SEED = 7
# Of each study's people a fifth is held back and a seventh chosen by; training people keep back their last 15 %.
TEST_SHARE, VALIDATION_SHARE, LATER_SHARE = 0.20, 0.15, 0.15
PARTS = ("train", "validation", "test", "later")
LEAST_READINGS = 300
LEAST_PEOPLE = 6
STRIDE_MINUTES = 10.0


@dataclass(frozen=True, slots=True)
class Windows:
    """`rows` float32 [n, 36], `truth` float32 [n, horizons] (NaN: none), `person`, `study`: numbers."""

    rows: npt.NDArray[np.float32]
    truth: npt.NDArray[np.float32]
    person: npt.NDArray[np.int64]
    study: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Collection:
    """Windows by part; `people` counts people by part, `studies` names the files in the order of their numbers."""

    parts: dict[str, Windows]
    people: dict[str, int]
    studies: Sequence[str]
    too_short: int
    left_out: Sequence[str]
    data_hash: str


def load(data_dir: Path, stride_minutes: float = STRIDE_MINUTES) -> Collection:
    """All Parquet files of readings in `data_dir` (or the file itself), divided by person and time.

    Wearers with fewer than 300 readings are left out. A person's part depends on the file, the seed and the person's
    rank alone. Raises UserError without files, or with fewer than six people of enough readings.
    """
    pieces: dict[str, list[tuple[Series, int, int]]] = {part: [] for part in PARTS}
    studies: list[str] = []
    left_out: list[str] = []
    digest, too_short, people = hashlib.sha256(), 0, 0
    for path in find(data_dir):
        found = series.read(path)
        left_out += [f"{path.name}: {sentence}" for sentence in found.left_out()]
        long = [one for one in found.series if len(one) >= LEAST_READINGS]
        too_short += len(found.series) - len(long)
        for one, part in zip(long, division(len(long)), strict=True):
            digest.update(one.times_s.tobytes() + one.glucose_mg_dl.tobytes())
            if part == "train":
                cut = int(len(one) * (1 - LATER_SHARE))
                pieces["later"].append((one.part(cut, len(one)), people, len(studies)))
                one = one.part(0, cut)
            pieces[part].append((one, people, len(studies)))
            people += 1
        studies.append(path.stem)
    if people < LEAST_PEOPLE:
        raise UserError(
            f"Training needs {LEAST_PEOPLE} people with {LEAST_READINGS} readings each and got {people}: with fewer, "
            "nobody could be held back. Collect more."
        )
    parts = {part: _cut(listed, stride_minutes) for part, listed in pieces.items()}
    counts = {part: len(np.unique(windows.person)) for part, windows in parts.items()}
    return Collection(parts, counts, studies, too_short, left_out, digest.hexdigest())


def find(data_dir: Path) -> list[Path]:
    """The Parquet files with the columns of readings in a folder, or the file itself; raises UserError for none."""
    if data_dir.is_file():
        return [data_dir]
    found = [path for path in sorted(data_dir.rglob("*.parquet")) if _has_readings(path)]
    if not found:
        raise UserError(f"{data_dir} holds no Parquet file with the columns {', '.join(series.COLUMNS)}.")
    return found


def _has_readings(path: Path) -> bool:
    try:
        return set(series.COLUMNS) <= set(pl.read_parquet_schema(path))
    except (OSError, pl.exceptions.PolarsError):
        return False


def division(people: int) -> list[str]:
    """The part of each of a study's people, in the order of their names; some of each part where there are enough."""
    order = np.random.default_rng(SPLIT_SEED).permutation(people)
    test, validation = max(1, round(TEST_SHARE * people)), max(1, round(VALIDATION_SHARE * people))
    rank = np.argsort(order)
    return ["test" if at < test else "validation" if at < test + validation else "train" for at in rank]


def _cut(listed: Sequence[tuple[Series, int, int]], stride_minutes: float) -> Windows:
    """The windows of some series: every reading that `prepare` accepts, strided, with truth at one horizon at least."""
    rows, truths, people, studies = [], [], [], []
    for one, person, study in listed:
        places = series.strided(one.times_s, stride_minutes)
        places = places[preprocess.enough(one.times_s, places)]
        truth = np.stack([series.truth(one, places, minutes) for minutes in HORIZONS_MINUTES], axis=1)
        known = np.isfinite(truth).any(axis=1)
        places, truth = places[known], truth[known]
        rows.append(preprocess.on_grid(one.times_s, one.glucose_mg_dl, one.times_s[places]))
        truths.append(truth.astype(np.float32))
        people.append(np.full(len(places), person))
        studies.append(np.full(len(places), study))
    if not rows:
        raise UserError("One part of the division holds nobody: training needs more people.")
    return Windows(*(np.concatenate(part) for part in (rows, truths, people, studies)))
