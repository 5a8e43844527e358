"""Series of glucose readings: reading a Parquet file, truth ahead of a reading, windows; no model and no splitting."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.errors import UserError

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

COLUMNS = ("subject", "timestamp", "glucose_mg_dl")
# What a sensor can report, generously; a wearer whose middle reading is below the second is recorded in mmol/L.
LOWEST, HIGHEST = 20.0, 600.0
LEAST_MEDIAN = 36.0
TOLERANCE_S = 150.0


@dataclass(frozen=True, slots=True)
class Series:
    """One wearer's plausible readings: `times_s` strictly ascending (s), `glucose_mg_dl` as many."""

    subject: str
    times_s: Floats
    glucose_mg_dl: Floats

    def __len__(self) -> int:
        return len(self.times_s)

    def part(self, start: int, stop: int) -> "Series":
        """The readings from place `start` up to but without `stop`."""
        return Series(self.subject, self.times_s[start:stop], self.glucose_mg_dl[start:stop])


@dataclass(frozen=True, slots=True)
class Readings:
    """What a file holds, and what of it was left out: empty cells, implausible values, repeats, other units.

    `other_unit` counts wearers whose readings look like mmol/L.
    """

    series: Sequence[Series]
    rows: int
    empty: int
    implausible: int
    repeated: int
    other_unit: int

    def left_out(self) -> list[str]:
        """What was left out, as sentences."""
        said = {
            f"{self.empty} rows lack a subject, a time or a value.": self.empty,
            f"{self.implausible} readings are outside {LOWEST:g} to {HIGHEST:g} mg/dL.": self.implausible,
            f"{self.repeated} readings repeat a time; of each time the last counts.": self.repeated,
            f"{self.other_unit} subjects look like mmol/L (their middle reading is below {LEAST_MEDIAN:g}); convert "
            "them to mg/dL.": self.other_unit,
        }
        return [sentence for sentence, count in said.items() if count]


def read(path: Path) -> Readings:
    """The series of a Parquet file with `subject`, `timestamp` and `glucose_mg_dl`, in any order; others are ignored.

    Times are a date-time column (with or without a zone) or ISO 8601 text. Raises UserError for a file that cannot be
    read, lacks a column, or holds no reading that can be used.
    """
    table = _table(path)
    rows = len(table)
    table = table.drop_nulls().filter(pl.col("glucose_mg_dl").is_finite())
    whole = len(table)
    middle = table.group_by("subject").agg(pl.col("glucose_mg_dl").median())
    foreign = middle.filter(pl.col("glucose_mg_dl") < LEAST_MEDIAN)["subject"]
    table = table.filter(~pl.col("subject").is_in(foreign.implode()))
    mine = len(table)
    table = table.filter(pl.col("glucose_mg_dl").is_between(LOWEST, HIGHEST))
    plausible = len(table)
    table = table.unique(["subject", "timestamp"], keep="last", maintain_order=True).sort("subject", "timestamp")
    found = Readings(list(_series(table)), rows, rows - whole, mine - plausible, plausible - len(table), len(foreign))
    if not found.series:
        raise UserError(f"{path.name} holds no reading that can be used. " + " ".join(found.left_out()))
    return found


def truth(series: Series, places: Places, minutes: float) -> Floats:
    """The reading nearest to `minutes` after each place, NaN where none is within 2.5 minutes; the earlier of two."""
    aim = series.times_s[places] + minutes * 60.0
    right = np.clip(np.searchsorted(series.times_s, aim), 1, len(series) - 1) if len(series) > 1 else None
    if right is None:
        return np.full(len(places), np.nan)
    nearer = np.abs(series.times_s[right] - aim) < np.abs(series.times_s[right - 1] - aim)
    place = np.where(nearer, right, right - 1)
    near = np.abs(series.times_s[place] - aim) <= TOLERANCE_S
    return np.where(near, series.glucose_mg_dl[place], np.nan)


def strided(times_s: Floats, minutes: float) -> Places:
    """Places of readings each at least `minutes` after the one before; all of them for 0."""
    if minutes <= 0:
        return np.arange(len(times_s))
    taken, at = [], 0
    while at < len(times_s):
        taken.append(at)
        at = max(at + 1, int(np.searchsorted(times_s, times_s[at] + minutes * 60.0 - 1.0)))
    return np.array(taken, dtype=np.int64)


def _series(table: pl.DataFrame) -> Iterator[Series]:
    for _, part in table.group_by("subject", maintain_order=True):
        times = part["timestamp"].dt.epoch("ms").to_numpy() / 1000.0
        yield Series(str(part["subject"][0]), times, part["glucose_mg_dl"].to_numpy())


def _table(path: Path) -> pl.DataFrame:
    try:
        schema = pl.read_parquet_schema(path)
        missing = [name for name in COLUMNS if name not in schema]
        if missing:
            raise UserError(f"{path.name} lacks the columns: {', '.join(missing)}.")
        return pl.read_parquet(path, columns=list(COLUMNS)).select(
            pl.col("subject").cast(pl.String),
            _time(path, schema["timestamp"]),
            _number(path, schema["glucose_mg_dl"]),
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None


def _time(path: Path, kind: pl.DataType) -> pl.Expr:
    column = pl.col("timestamp")
    if isinstance(kind, pl.String):
        return column.str.to_datetime(strict=False, time_unit="ms")
    if not isinstance(kind, pl.Datetime):
        raise UserError(f"{path.name}: timestamp must hold dates with times, not {kind}.")
    return (
        column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if kind.time_zone else column
    ).dt.cast_time_unit("ms")


def _number(path: Path, kind: pl.DataType) -> pl.Expr:
    if not kind.is_numeric():
        raise UserError(f"{path.name}: glucose_mg_dl must hold numbers, not {kind}.")
    return pl.col("glucose_mg_dl").cast(pl.Float64)
