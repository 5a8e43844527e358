"""The pretrained forecaster never meets what it was trained on, and the comparison runs from a file to a report."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from clinstream.__main__ import build
from clinstream.benches import glucobench
from training.glucobench import baselines, compare, features, ours
from training.glucobench.protocol import Windows
from training.glucobench.sketch import alike, sketch
from triton_models.series import Series, read

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data" / "cgm"
shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data/cgm")


def walk(seed: int, readings: int) -> Series:
    """A smooth wander around 150 mg/dL."""
    rng = np.random.default_rng(seed)
    values = 150 + 40 * np.sin(np.arange(readings) / 20 + seed) + np.cumsum(rng.normal(0, 2, readings)) * 0.5
    return Series(f"w{seed}", 1.7e9 + 300.0 * np.arange(readings, dtype=np.float64), np.clip(values, 45, 390))


def written(folder: Path, people: int, readings: int) -> Path:
    """A Parquet file of wanderers."""
    tables = []
    for seed in range(people):
        one = walk(seed, readings)
        times = [datetime.fromisoformat("2026-01-01") + timedelta(minutes=5 * place) for place in range(readings)]
        tables.append(pl.DataFrame({"subject": one.subject, "timestamp": times, "glucose_mg_dl": one.glucose_mg_dl}))
    path = folder / "unseen.parquet"
    pl.concat(tables).write_parquet(path)
    return path


@shared
@pytest.mark.parametrize("name", ["bigideas", "physiocgm"])
def test_a_set_that_was_learnt_from_is_recognised_under_another_name_and_time(name: str, tmp_path: Path) -> None:
    """Half of the subjects, renamed and moved by years, still get weights that have not seen the set."""
    table = pl.read_parquet(SHARED / f"{name}.parquet")
    some = sorted(table["subject"].unique())[::2]
    moved = table.filter(pl.col("subject").is_in(some)).with_columns(
        pl.col("subject").cast(pl.String).str.replace_all("[a-zA-Z]", "x") + "-" + pl.col("subject").cast(pl.String),
        pl.col("timestamp") + pl.duration(days=1234, hours=5),
    )
    moved.write_parquet(tmp_path / "other.parquet")
    begun = ours.choose(sketch(read(tmp_path / "other.parquet").series))
    assert begun.left_out == [name]
    assert name not in begun.trained_on
    assert len(begun.trained_on) == 5
    assert begun.networks


def test_readings_that_nobody_saw_get_the_weights_of_all_sets() -> None:
    """No set is recognised in wanderers, and all six were learnt from."""
    begun = ours.choose(sketch([walk(seed, 4000) for seed in range(5)]))
    assert begun.left_out == []
    assert len(begun.trained_on) == 6


def test_a_file_that_mixes_sets_gets_no_weights() -> None:
    """With two sets recognised there is no file of weights without both."""
    with np.load(ours.WEIGHTS / "sketches.npz") as kept:
        both = np.concatenate([kept["azt1d"][:50], kept["bigideas"]])
    begun = ours.choose(np.unique(both))
    assert begun.left_out == ["azt1d", "bigideas"]
    assert not begun.networks


def test_sketches_depend_on_the_values_alone_and_flat_lines_count_for_nothing() -> None:
    """A sensor at its limit repeats itself in every study."""
    one = walk(1, 5000)
    moved = Series("other", one.times_s + 86_400.0, one.glucose_mg_dl)
    assert alike(sketch([one]), sketch([moved]))
    assert not alike(sketch([one]), sketch([walk(2, 5000)]))
    assert len(sketch([Series("flat", one.times_s, np.full(5000, 400.0))])) == 0


def test_features_look_at_nothing_but_what_lies_before() -> None:
    """The truth does not matter, missing history is zero, and a stranger has no figures of his own."""
    rows = np.full((2, 144), 120.0, dtype=np.float32)
    rows[1, :60] = np.nan
    windows = Windows(rows, np.full((2, 12), np.nan, np.float32), np.array([0, 5]), np.array([3600.0, 7200.0]))
    known = {0: features.Wearer(110.0, 20.0, 3.0, np.zeros(24))}
    seen = features.features(windows, known)
    assert np.isfinite(seen).all()
    assert seen[0, -features.OWN] == 1.0
    assert not seen[1, -features.OWN :].any()


def test_the_command_compares_all_forecasters_on_a_file_never_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GL1: one JSON object with the ratio to linear first, every forecaster and measure, progress on stderr alone."""
    for limit in ("MOST_TRAIN", "LSTM_WINDOWS", "TRANSFORMER_WINDOWS"):
        monkeypatch.setattr(compare, limit, 400)
    monkeypatch.setattr(baselines, "TREES", 3)
    path = written(tmp_path, 4, 500)
    asked = ["--gap-min", "30", "--min-segment", "200", "--test-segment", "60", "--max-input", "96", "--json"]
    done = CliRunner().invoke(build(["bench"]), ["bench", "glucobench", "--readings", str(path), *asked])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert next(iter(found["ratios"])) == "linear_over_ours_median_rmse"
    for name in compare.FORECASTERS:
        for measure in ("median_rmse", "median_mae", "mean_rmse", "mean_mae"):
            assert found["figures"][f"{name}_{measure}"]["value"] > 0
            assert found["figures"][f"out_of_distribution_{name}_{measure}"]["value"] > 0
    best = min(found["figures"][f"{name}_median_rmse"]["value"] for name in glucobench.LINEAR)
    mine = found["figures"]["ours_median_rmse"]["value"]
    assert found["ratios"]["linear_over_ours_median_rmse"] == pytest.approx(best / mine, rel=1e-3)
    assert found["figures"]["test_windows"]["value"] == 3 * 9  # (60 - 12) / 6 + 1 windows of each of three subjects
    assert "ours" in done.stderr
    assert len(found["notes"]["pretrained_on"]) == 6
    intervals = found["notes"]["intervals"]
    assert intervals["linear_over_ours_median_rmse"][0] < intervals["linear_over_ours_median_rmse"][1]
    assert intervals["out_of_distribution_linear_over_ours_median_rmse"] == [None, None]  # one person


def test_the_command_wants_a_file() -> None:
    """The message names the option."""
    done = CliRunner().invoke(build(["bench"]), ["bench", "glucobench"])
    assert done.exit_code != 0
    assert "--readings" in str(done.exception)
