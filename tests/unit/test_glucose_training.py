"""Training on a few made-up wearers: everything is written, nobody is in two parts, the graph is what was trained."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs requirements/train.lock")

import torch

from schemas.errors import UserError
from tests.support import readings
from triton_models import linear
from triton_models.glucose import collection, graph, train
from triton_models.glucose.card import HORIZONS_MINUTES

TINY = train.Recipe(width=16, epochs=2, windows=600, batch=64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten wearers of three days in one file, four of a slower sensor in another."""
    home = tmp_path_factory.mktemp("cgm")
    readings.write(home / "fast.parquet", readings.table(people=10, readings=860))
    readings.write(home / "slow.parquet", readings.table(people=4, readings=400, every_minutes=15))
    return home


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    out = tmp_path_factory.mktemp("run")
    train.train(folder, out, recipe=TINY, seed=1)
    return out


def test_a_person_is_in_one_part_and_each_study_gives_some_to_each(folder: Path) -> None:
    """GL4: by person, and the last days of those who were trained on."""
    found = collection.load(folder)
    people = {part: set(windows.person.tolist()) for part, windows in found.parts.items()}
    assert people["later"] == people["train"]
    assert not people["train"] & people["validation"]
    assert not people["train"] & people["test"]
    assert not people["validation"] & people["test"]
    for windows in found.parts.values():
        assert set(windows.study.tolist()) == {0, 1}
    assert collection.load(folder).data_hash == found.data_hash
    assert sum(len(part) for name, part in people.items() if name != "later") == 14


def test_no_training_window_looks_into_the_later_time(folder: Path) -> None:
    """GL4: truth of the last training windows ends before the later part begins."""
    found = collection.load(folder)
    train_part, later = found.parts["train"], found.parts["later"]
    for person in np.unique(train_part.person):
        count = int((train_part.person == person).sum())
        assert count > 4 * int((later.person == person).sum())


def test_a_run_writes_what_is_served_and_what_a_rerun_needs(run: Path) -> None:
    """ME8, GL5, GL24."""
    record = json.loads((run / "metadata.json").read_text())
    assert {path.name for path in run.iterdir()} >= {"glucose.onnx", "linear.json", "weights.npz", "history.json"}
    assert record["recipe"]["width"] == 16
    for part in ("validation", "test", "later"):
        for minutes in HORIZONS_MINUTES:
            for figure in ("rmse", "mae", "r2", "coverage", "persistence_rmse", "linear_rmse"):
                assert np.isfinite(record["figures"][f"{part}_{figure}_{minutes}"]).all()
    assert record["split_sizes"]["test people"] == 3
    assert linear.load(run).horizons_minutes == HORIZONS_MINUTES


def test_the_graph_gives_what_the_network_gave(run: Path, folder: Path) -> None:
    """What is served is what was trained: features, gaps, heads and calibration included."""
    network = train.build(TINY, 1, run / "weights.npz")
    data = collection.load(folder)
    rows, spread = data.parts["test"].rows[:50].copy(), train.spreads(data.parts["train"])
    rows[::2, 5:9] = np.nan
    rows[::3, 30:] = np.nan
    low, high = train.calibrate(network, data.parts["validation"], spread)
    with torch.no_grad():
        change, below, above = (part.numpy() for part in network(torch.from_numpy(graph.features(rows))))
    middle = rows[:, :1] + change * spread
    expected = np.stack([middle - below * spread * low, middle, middle + above * spread * high], axis=2)
    said = train.served(run / "glucose.onnx", rows)
    np.testing.assert_allclose(said, expected.clip(graph.LOWEST, graph.HIGHEST), atol=0.02)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(run: Path, folder: Path, tmp_path: Path) -> None:
    """ME8."""
    train.train(folder, tmp_path / "same", recipe=TINY, seed=1)
    train.train(folder, tmp_path / "other", recipe=TINY, seed=2)
    assert (tmp_path / "same" / "glucose.onnx").read_bytes() == (run / "glucose.onnx").read_bytes()
    assert (tmp_path / "other" / "glucose.onnx").read_bytes() != (run / "glucose.onnx").read_bytes()


def test_a_run_can_start_from_an_earlier_one_of_the_same_layers(run: Path) -> None:
    begun = train.build(TINY, 9, run / "weights.npz").state_dict()
    with np.load(run / "weights.npz") as saved:
        for name, value in begun.items():
            np.testing.assert_array_equal(value.numpy(), saved[name])
    with pytest.raises(UserError, match=r"not the weights\.npz of a run with these layers"):
        train.build(replace(TINY, width=8), 9, run / "weights.npz")
    with pytest.raises(UserError, match=r"not the weights\.npz"):
        train.build(TINY, 9, run / "none.npz")


def test_conformal_calibration_leaves_a_twentieth_beyond_each_end(folder: Path) -> None:
    """GL6: measured on the people that it was calibrated by, each with the same weight."""
    data = collection.load(folder)
    spread, network = train.spreads(data.parts["train"]), train.build(TINY, 3)
    windows = data.parts["validation"]
    low, high = train.calibrate(network, windows, spread)
    with torch.no_grad():
        change, below, above = (part.numpy() for part in network(torch.from_numpy(graph.features(windows.rows))))
    real = (windows.truth - windows.rows[:, :1]) / spread
    under, over = real < change - below * low - 1e-5, real > change + above * high + 1e-5
    known = np.isfinite(real)
    for place in range(len(HORIZONS_MINUTES)):
        for beyond in (under, over):
            each = [
                beyond[rows & known[:, place], place].mean()
                for rows in (windows.person == person for person in np.unique(windows.person))
            ]
            assert np.mean(each) <= 0.0505


def test_too_few_people_or_no_files_are_refused_with_what_is_needed(tmp_path: Path) -> None:
    """GL4."""
    readings.write(tmp_path / "few.parquet", readings.table(people=5, readings=400))
    with pytest.raises(UserError, match="needs 6 people with 300 readings each and got 5"):
        collection.load(tmp_path)
    readings.write(tmp_path / "few.parquet", readings.table(people=9, readings=200))
    with pytest.raises(UserError, match="got 0"):
        collection.load(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="holds no Parquet file"):
        collection.load(empty)


def test_a_loss_that_is_no_number_stops_the_run_with_advice(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Lower the learning rate"):
        train.train(folder, tmp_path / "out", recipe=replace(TINY, rate=1e30), seed=1)
