"""Labelled tables of named measurements: reading a CSV into rows that a model takes; no model and no splitting."""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from schemas.errors import OutOfRange, Unprocessable, UserError

Row = npt.NDArray[np.float32]
Prepare = Callable[[Mapping[str, float | None]], Row]

MISSING = frozenset({"", "na", "nan", "null"})


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` float32 [n, features] with NaN where missing, `positive` bool [n] and `lines` int [n], their line numbers.

    `refused` holds by line number why the model must not see a row, `unreadable` what could not be read at all.
    """

    rows: npt.NDArray[np.float32]
    positive: npt.NDArray[np.bool_]
    lines: npt.NDArray[np.int64]
    refused: Mapping[int, str]
    unreadable: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.positive)


def read(path: Path, features: Sequence[str], target: str, prepare: Prepare) -> Table:
    """The rows of a CSV (plain or .gz) with the columns `features` and `target` (0 or 1); other columns are ignored.

    An empty cell means not measured. The header is line 1. Raises UserError naming the columns that are missing.
    """
    kept: list[tuple[Row, bool, int]] = []
    refused: dict[int, str] = {}
    unreadable: dict[int, str] = {}
    for line, record in _records(path, [*features, target]):
        try:
            label = _label(target, record[target])
            kept.append((prepare({name: number(name, record[name]) for name in features}), label, line))
        except OutOfRange as error:
            refused[line] = str(error)
        except Unprocessable as error:
            unreadable[line] = str(error)
    rows = np.stack([row for row, _, _ in kept]) if kept else np.empty((0, len(features)), dtype=np.float32)
    positive = np.array([label for _, label, _ in kept], dtype=np.bool_)
    return Table(rows, positive, np.array([line for _, _, line in kept], dtype=np.int64), refused, unreadable)


def header(path: Path) -> list[str]:
    """The column names of a CSV."""
    return next(csv.reader(io.StringIO(_text(path), newline="")), [])


def number(name: str, cell: str | None) -> float | None:
    """A cell as a number, None where nothing was measured; raises Unprocessable for anything else."""
    if cell is None or cell.strip().lower() in MISSING:
        return None
    try:
        return float(cell)
    except ValueError:
        raise Unprocessable(f"{name} is not a number") from None


def _label(target: str, cell: str | None) -> bool:
    value = number(target, cell)
    if value not in (0.0, 1.0):
        raise Unprocessable(f"{target} must be 0 or 1")
    return value == 1.0


def _records(path: Path, wanted: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    missing = [name for name in wanted if name not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{path.name} lacks the columns: {', '.join(missing)}.")
    for record in reader:
        yield reader.line_num, record


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a CSV table: {error}") from None
