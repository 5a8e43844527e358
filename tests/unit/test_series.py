"""Readings from files never seen before: what is taken, what is left out with a sentence, what is refused."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from schemas.errors import UserError
from tests.support import readings
from triton_models import series
from triton_models.series import Series


def test_any_order_gives_each_wearers_readings_in_time(tmp_path: Path) -> None:
    """GL3: files come unsorted, with repeats and columns of their own."""
    plain = series.read(readings.write(tmp_path / "plain.parquet", readings.table()))
    mixed = readings.table().sample(fraction=1.0, shuffle=True, seed=4)
    again = series.read(readings.write(tmp_path / "mixed.parquet", pl.concat([mixed, mixed[:50]])))
    assert [one.subject for one in plain.series] == [f"wearer {number}" for number in range(3)]
    for one, other in zip(plain.series, again.series, strict=True):
        np.testing.assert_array_equal(one.times_s, other.times_s)
        np.testing.assert_array_equal(one.glucose_mg_dl, other.glucose_mg_dl)
        assert (np.diff(one.times_s) > 0).all()
    assert (plain.repeated, again.repeated) == (0, 50)
    assert again.left_out() == ["50 readings repeat a time; of each time the last counts."]


@pytest.mark.parametrize("subject", [pl.String, pl.Int64, pl.Categorical])
@pytest.mark.parametrize("time", ["us", "ns", "zone", "text"])
@pytest.mark.parametrize("number", [pl.Float32, pl.Float64, pl.Int32])
def test_types_that_other_tools_write_are_taken(tmp_path: Path, subject: type, time: str, number: type) -> None:
    stamp = pl.col("timestamp")
    cast = {
        "us": stamp.cast(pl.Datetime("us")),
        "ns": stamp.cast(pl.Datetime("ns")),
        "zone": stamp.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        "text": stamp.dt.strftime("%Y-%m-%dT%H:%M:%S"),
    }[time]
    given = readings.table(people=1, readings=20).with_columns(
        pl.lit("7").cast(pl.String).cast(subject).alias("subject"), cast, pl.col("glucose_mg_dl").cast(number)
    )
    (one,) = series.read(readings.write(tmp_path / "typed.parquet", given)).series
    assert one.subject == "7"
    np.testing.assert_array_equal(np.diff(one.times_s), 300.0)


def test_empty_cells_and_implausible_values_are_left_out_and_counted(tmp_path: Path) -> None:
    """GL3."""
    given = readings.table(people=1, readings=30)
    odd = [None, float("nan"), 6.5, 999.0, *given["glucose_mg_dl"][4:].to_list()]
    found = series.read(
        readings.write(tmp_path / "odd.parquet", given.with_columns(pl.Series("glucose_mg_dl", odd, strict=False)))
    )
    assert (found.rows, found.empty, found.implausible) == (30, 2, 2)
    assert len(found.series[0]) == 26


def test_a_wearer_in_another_unit_is_left_out_with_what_to_do(tmp_path: Path) -> None:
    """GL3: mmol/L is never taken for mg/dL."""
    given = readings.table()
    foreign = given.with_columns(
        pl.when(pl.col("subject") == "wearer 1").then(pl.col("glucose_mg_dl") / 18).otherwise(pl.col("glucose_mg_dl"))
    )
    found = series.read(readings.write(tmp_path / "mixed.parquet", foreign))
    assert [one.subject for one in found.series] == ["wearer 0", "wearer 2"]
    assert found.left_out() == [
        "1 subjects look like mmol/L (their middle reading is below 36); convert them to mg/dL."
    ]
    everybody = readings.write(tmp_path / "all.parquet", given.with_columns(pl.col("glucose_mg_dl") / 18))
    with pytest.raises(UserError, match=r"no reading that can be used.*look like mmol/L"):
        series.read(everybody)


def test_files_that_cannot_be_used_say_why(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("subject,timestamp,glucose_mg_dl\n")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        series.read(tmp_path / "text.parquet")
    with pytest.raises(UserError, match="cannot be read as Parquet"):
        series.read(tmp_path / "none.parquet")
    with pytest.raises(UserError, match=r"short\.parquet lacks the columns: timestamp, glucose_mg_dl"):
        series.read(readings.write(tmp_path / "short.parquet", pl.DataFrame({"subject": ["a"]})))
    with pytest.raises(UserError, match="no reading that can be used"):
        series.read(readings.write(tmp_path / "empty.parquet", readings.table()[:0]))
    wrong = readings.table().with_columns(pl.col("timestamp").dt.epoch("s"))
    with pytest.raises(UserError, match="timestamp must hold dates with times"):
        series.read(readings.write(tmp_path / "epoch.parquet", wrong))
    words = readings.table().with_columns(pl.lit("high").alias("glucose_mg_dl"))
    with pytest.raises(UserError, match="glucose_mg_dl must hold numbers"):
        series.read(readings.write(tmp_path / "words.parquet", words))


def one(minutes: list[float], values: list[float]) -> Series:
    return Series("a", np.array(minutes) * 60.0, np.array(values))


def test_truth_is_the_nearest_reading_within_two_and_a_half_minutes() -> None:
    given = one([0, 28, 31, 57.4, 62.6], [100, 128, 131, 157, 162])
    start = np.array([0])
    assert series.truth(given, start, 30) == [131]
    assert np.isnan(series.truth(given, start, 60))
    assert np.isnan(series.truth(given, start, 120))
    assert series.truth(one([0, 27.5, 32.5], [1, 2, 3]), start, 30) == [2]
    assert np.isnan(series.truth(one([0], [1]), start, 30))


def test_strided_places_are_never_nearer_than_the_stride() -> None:
    times = np.array([0, 5, 10, 15, 20, 100, 101, 116, 117]) * 60.0
    assert series.strided(times, 15).tolist() == [0, 3, 5, 7]
    assert series.strided(times, 0).tolist() == list(range(9))


def test_a_zone_is_taken_into_account(tmp_path: Path) -> None:
    stamp = datetime(2025, 3, 30, 0, 30, tzinfo=UTC)
    times = [stamp + timedelta(minutes=30 * place) for place in range(6)]
    given = pl.DataFrame({"subject": ["a"] * 6, "timestamp": times, "glucose_mg_dl": [100.0] * 6}).with_columns(
        pl.col("timestamp").dt.convert_time_zone("Europe/Madrid")
    )
    (found,) = series.read(readings.write(tmp_path / "zone.parquet", given)).series
    np.testing.assert_array_equal(np.diff(found.times_s), 1800.0)
