"""Named measurements become the row that the model takes, or are refused by name; the value is never repeated."""

import csv
import gzip
import math
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import OutOfRange
from triton_models.icu_mortality.preprocess import FEATURES, RANGES, prepare

TABLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "tabular" / "icu_mortality_62_features.csv.gz"
needs_table = pytest.mark.skipif(not TABLE.is_file(), reason=f"the shared table is not at {TABLE}")


@needs_table
def test_the_features_are_the_tables_columns_in_its_order_without_the_record_number() -> None:
    """GK1: exactly 62; `recordid` names a stay and is no feature."""
    with gzip.open(TABLE, "rt") as text:
        columns = next(csv.reader(text))
    assert list(FEATURES) == [name for name in columns if name not in ("recordid", "In-hospital_death")]
    assert len(FEATURES) == 62


@needs_table
def test_every_real_stay_passes_the_plausibility_ranges() -> None:
    """CC11: a range that refuses real intensive care is wrong."""
    with gzip.open(TABLE, "rt", newline="") as text:
        for record in csv.DictReader(text):
            prepare({name: float(record[name]) if record[name] else None for name in FEATURES})


def test_a_row_follows_the_names_not_the_order_of_arrival() -> None:
    row = prepare({"Temp_median": 37.0, "Age": 54.0, "HR_first": None})
    assert row.dtype == np.float32
    assert row.shape == (62,)
    assert row[FEATURES.index("Age")] == 54.0
    assert row[FEATURES.index("Temp_median")] == np.float32(37.0)
    assert np.isnan(row).sum() == 60


@pytest.mark.parametrize(
    ("name", "value", "mix_up"),
    [
        ("Temp_first", 98.6, "Fahrenheit"),
        ("Temp_median", 310.0, "kelvin"),
        ("Glucose_median", 7.8, "mmol/L"),
        ("Glucose_highest", 11.0, "mmol/L"),
        ("Height", 1.75, "metres"),
        ("Weight", 78_000, "grams"),
        ("SaO2_first", 0.97, "a fraction"),
        ("NIMAP_median", 11.3, "kPa"),
        ("NIDiasABP_highest", 12.0, "kPa"),
        ("Age", 648.0, "months"),
        ("GCS_last", 2.0, "below the scale"),
        ("HR_median", 1.4, "hertz"),
    ],
)
def test_another_unit_is_refused_with_the_feature_and_its_range(name: str, value: float, mix_up: str) -> None:
    """GL20, CC11: what a unit mix-up looks like is caught where one value can show it."""
    with pytest.raises(OutOfRange, match=f"{name} is outside its plausible range") as caught:
        prepare({"Age": 60.0, name: value})
    assert f"{value:g}" not in str(caught.value).replace(f"{RANGES[name].low:g} to {RANGES[name].high:g}", "")


@pytest.mark.parametrize("value", [0.5, 2.0, -1.0])
def test_a_flag_takes_nothing_but_zero_and_one(value: float) -> None:
    with pytest.raises(OutOfRange, match=r"SICU is outside its plausible range \(0 or 1\)"):
        prepare({"SICU": value})


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_value_that_is_no_number_is_refused_by_name(value: float) -> None:
    with pytest.raises(OutOfRange, match="HR_first is not a finite number"):
        prepare({"HR_first": value, "Age": 60.0})


def test_unknown_names_are_refused_and_named() -> None:
    with pytest.raises(OutOfRange, match="unknown features: 'heart rate'"):
        prepare({"heart rate": 80.0, "Age": 60.0})
    with pytest.raises(OutOfRange, match="and 3 more"):
        prepare({f"x{number}": 1.0 for number in range(8)})


@pytest.mark.parametrize("features", [{}, {"Age": None, "HR_first": None}])
def test_nothing_measured_at_all_is_refused(features: dict[str, float | None]) -> None:
    with pytest.raises(OutOfRange, match="none of the 62 features was measured"):
        prepare(features)


@pytest.mark.parametrize("name", FEATURES)
def test_both_ends_of_every_range_belong_to_it(name: str) -> None:
    bounds = RANGES[name]
    for value in (bounds.low, bounds.high):
        assert prepare({name: value})[FEATURES.index(name)] == np.float32(value)
    for value in (np.nextafter(bounds.low, -np.inf), np.nextafter(bounds.high, np.inf)):
        with pytest.raises(OutOfRange):
            prepare({name: float(value)})
