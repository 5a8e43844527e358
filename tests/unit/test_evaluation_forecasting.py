"""Windows, truth and baselines of `evaluate glucose`, with a server that answers what the test says."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import triton_models
from clinstream.evaluation import forecasting
from schemas.errors import UserError
from schemas.windows import GlucoseWindow
from tests.support import readings
from triton_models import linear, series
from triton_models.glucose.preprocess import prepare

GLUCOSE = triton_models.discover()["glucose"]


class Oracle:
    """A server that forecasts the newest reading plus 10, within 25, at any horizon; it remembers what it was asked."""

    def __init__(self) -> None:
        self.rows: list[np.ndarray] = []

    def deadline_s(self, name: str) -> float:
        return 1.0

    async def infer(self, name: str, inputs: Mapping[str, Any], **options: Any) -> Mapping[str, Any]:
        rows = inputs["glucose"]
        self.rows += list(rows)
        middle = np.repeat(rows[:, :1] + 10, 8, axis=1)
        return {"forecast": np.stack([middle - 25, middle, middle + 25], axis=2)}


def judge(path: Path, stride: float = 15.0) -> tuple[forecasting.ForecastVerdict, Oracle]:
    server = Oracle()
    planned = forecasting.plan(GLUCOSE, series.read(path), stride)
    return asyncio.run(forecasting.judge(planned, server, "the oracle")), server  # type: ignore[arg-type]


def test_figures_are_those_of_windows_made_by_hand(tmp_path: Path) -> None:
    """Architecture, JSON shapes: RMSE and MAE beside persistence and linear, coverage of the intervals."""
    given = readings.table(people=2, readings=120)
    verdict, server = judge(readings.write(tmp_path / "a.parquet", given), stride=0)
    values = [given.filter(pl.col("subject") == f"wearer {number}")["glucose_mg_dl"].to_numpy() for number in (0, 1)]
    newest = np.concatenate([one[2:-6] for one in values])
    truth = np.concatenate([one[8:] for one in values])
    error = newest + 10 - truth
    assert verdict.windows == len(newest) == len(server.rows)
    assert verdict.refused == 4
    assert verdict.rmse[30][0] == pytest.approx(np.sqrt((error**2).mean()), abs=0.05)
    assert verdict.mae[30][0] == pytest.approx(np.abs(error).mean(), abs=0.05)
    assert verdict.persistence_rmse[30][0] == pytest.approx(np.sqrt(((newest - truth) ** 2).mean()))
    assert verdict.coverage_by_horizon[30][0] == pytest.approx((np.abs(error) <= 25).mean(), abs=0.01)
    straight = linear.load(GLUCOSE.weights_path.parent).forecast(np.stack(server.rows))[:, 1]
    assert verdict.linear_rmse[30][0] == pytest.approx(np.sqrt(((straight - truth) ** 2).mean()))
    assert verdict.people == 2
    found = verdict.json()
    assert found["n_windows"] == verdict.windows
    for key in ("rmse", "mae", "persistence_rmse", "linear_rmse"):
        assert list(found[key]) == ["30", "60", "120"]
    assert list(found["coverage"]) == ["0.9"]


def test_the_server_sees_what_the_stream_would_show_it(tmp_path: Path) -> None:
    """Evaluation measures the stream: the same preparation of the same readings, nothing later than the newest."""
    given = readings.table(people=1, readings=90)
    path = readings.write(tmp_path / "a.parquet", given)
    _, server = judge(path, stride=60)
    (one,) = series.read(path).series
    times, values = one.times_s.tolist(), one.glucose_mg_dl.tolist()
    places = [place for place in series.strided(one.times_s, 60).tolist() if 2 <= place <= 83]
    expected = [prepare(GlucoseWindow(times[: at + 1], values[: at + 1])) for at in places]
    np.testing.assert_array_equal(np.stack(server.rows), np.stack(expected))


def test_one_wearer_has_figures_without_intervals(tmp_path: Path) -> None:
    verdict, _ = judge(readings.write(tmp_path / "a.parquet", readings.table(people=1)))
    found = verdict.json()
    assert found["rmse"]["30"] > 0
    assert found["intervals"]["rmse"]["30"] == [None, None]


def test_a_sensor_that_reports_every_quarter_of_an_hour_is_judged(tmp_path: Path) -> None:
    verdict, _ = judge(readings.write(tmp_path / "a.parquet", readings.table(readings=60, every_minutes=15)))
    assert verdict.windows == 3 * (58 - 2)
    assert np.isfinite(verdict.rmse[120][0])


def test_readings_too_far_apart_cannot_be_judged(tmp_path: Path) -> None:
    path = readings.write(tmp_path / "a.parquet", readings.table(readings=60, every_minutes=50))
    with pytest.raises(UserError, match="nothing can be compared"):
        forecasting.plan(GLUCOSE, series.read(path))


def test_windows_that_the_model_refuses_say_why(tmp_path: Path) -> None:
    path = readings.write(tmp_path / "a.parquet", readings.table(readings=60, every_minutes=60))
    with pytest.raises(UserError, match=r"refused all .* windows: a forecast needs 3 readings"):
        judge(path)


def test_coverage_is_told_by_the_hour_of_the_files_times(tmp_path: Path) -> None:
    """GL6: six hours later every figure stands a quarter of the day further on."""
    given = readings.table(people=2, readings=120)
    later = given.with_columns(pl.col("timestamp") + pl.duration(hours=6))
    now = list(judge(readings.write(tmp_path / "a.parquet", given))[0].by_hour.values())
    then = judge(readings.write(tmp_path / "b.parquet", later))[0].json()["coverage_by_hour"].values()
    rounded = [None if np.isnan(value) else round(value, 4) for value, _, _ in now]
    assert list(then) == [*rounded[-1:], *rounded[:-1]]
    assert any(value is not None and value > 0 for value in rounded)
