"""Training of `icu_mortality` on made-up tables: what it refuses and keeps apart, and that served means trained."""

import csv
import json
import math
import resource
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("torch", reason="training needs requirements/train.lock")

from schemas.errors import UserError
from triton_models import figures
from triton_models.icu_mortality import ensemble, graph, heldback, network, report, scaling, table, teacher
from triton_models.icu_mortality.calibration import calibrate
from triton_models.icu_mortality.preprocess import FEATURES
from triton_models.icu_mortality.recipe import Recipe
from triton_models.icu_mortality.train import train

NARROW = Recipe(epochs=4, folds=0, members=2)
FOLDED = Recipe(epochs=4, folds=3, teachers=("boosted",))


def write_table(path: Path, rows: int, *, deaths: float = 0.3, seed: int = 0) -> Path:
    """A CSV of plausible stays in which a low GCS goes with death."""
    rng = np.random.default_rng(seed)
    with path.open("w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(["recordid", *FEATURES, table.TARGET])
        for number in range(rows):
            died = number < deaths * rows
            values: dict[str, Any] = {"Age": int(rng.integers(20, 90)), "Gender": int(rng.integers(2))}
            values |= {
                f"GCS_{which}": int(rng.integers(3, 9) if died else rng.integers(6, 16)) for which in ("first", "last")
            }
            values |= {f"HR_{which}": float(rng.normal(85, 12)) for which in ("first", "last", "median")}
            values["Temp_median"] = round(float(rng.normal(37, 0.5)), 1) if rng.random() < 0.7 else ""
            writer.writerow([number, *[values.get(name, "") for name in FEATURES], int(died)])
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished run of four epochs: (table, folder)."""
    folder = tmp_path_factory.mktemp("icu")
    data = write_table(folder / "stays.csv", 400)
    train(data, folder / "run", recipe=NARROW)
    return data, folder / "run"


def served(folder: Path, rows: Any) -> Any:
    session = onnxruntime.InferenceSession(folder / "icu_mortality.onnx", providers=["CPUExecutionProvider"])
    return session.run(["probability"], {"features": rows})[0]


def test_fewer_than_200_labelled_rows_are_refused_with_the_reason(tmp_path: Path) -> None:
    """GK9."""
    data = write_table(tmp_path / "stays.csv", 199)
    with pytest.raises(UserError, match="at least 200 labelled rows and got 199"):
        train(data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_table_with_too_few_deaths_is_refused(tmp_path: Path) -> None:
    data = write_table(tmp_path / "stays.csv", 300, deaths=0.01)
    with pytest.raises(UserError, match=r"Only 3 rows have In-hospital_death = 1"):
        train(data, tmp_path / "run")


def test_a_table_that_lacks_columns_names_them(tmp_path: Path) -> None:
    path = tmp_path / "stays.csv"
    path.write_text("Age,In-hospital_death\n50,0\n")
    with pytest.raises(UserError, match=r"lacks the columns: Gender, Height"):
        train(path, tmp_path / "run")


def test_a_folder_must_hold_one_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="found none"):
        train(tmp_path, tmp_path / "run")
    for name in ("a.csv", "b.csv"):
        write_table(tmp_path / name, 5)
    with pytest.raises(UserError, match=r"found a\.csv, b\.csv"):
        train(tmp_path, tmp_path / "run")


def test_the_parts_are_disjoint_cover_everything_and_keep_the_share_of_deaths() -> None:
    """GK2: 70/15/15, no leakage, the same for the same seed."""
    died = np.arange(4000) % 7 == 0
    parts = table.split(died, seed=1)
    together = np.concatenate(list(parts.values()))
    assert sorted(together) == list(range(4000))
    assert [len(parts[name]) for name in ("train", "validation", "test")] == pytest.approx([2800, 600, 600], abs=2)
    for rows in parts.values():
        assert died[rows].mean() == pytest.approx(died.mean(), abs=0.002)
    again, other = table.split(died, seed=1), table.split(died, seed=2)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)
    assert not np.array_equal(parts["test"], other["test"])


def test_validation_and_test_rows_do_not_move_the_scaling(finished: tuple[Path, Path], tmp_path: Path) -> None:
    """GK9: fitted on training rows only; the served graph holds exactly those figures."""
    data, folder = finished
    found = table.read(data)
    parts = table.split(found.positive)
    fitted = scaling.fit(found.rows[parts["train"]], NARROW.ramps)
    import onnx
    from onnx import numpy_helper

    held = {
        item.name: numpy_helper.to_array(item) for item in onnx.load(folder / "icu_mortality.onnx").graph.initializer
    }
    for name in ("median", "low", "high", "mean", "deviation"):
        np.testing.assert_array_equal(held[name], getattr(fitted, name))
    for place, (start, width) in enumerate(fitted.ramps):
        np.testing.assert_array_equal(held[f"ramp{place}_start"], start)
        np.testing.assert_array_equal(held[f"ramp{place}_width"], width)
    everything = scaling.fit(found.rows)
    assert not np.array_equal(everything.mean, fitted.mean)


def test_the_teacher_of_a_fold_knows_nothing_of_it_and_judges_no_stay_that_it_saw() -> None:
    """GK2: turning round the outcomes of a fold leaves what its networks learn as it was."""
    rng = np.random.default_rng(5)
    rows, died = rng.normal(size=(240, 62)).astype(np.float32), rng.random(240) < 0.3
    folds = [np.arange(start, 240, 3) for start in range(3)]
    other = died.copy()
    other[folds[1]] = ~other[folds[1]]
    before, after = (teacher.risks_apart(rows, outcome, folds, 1, ("boosted",)) for outcome in (died, other))
    assert np.isnan(before[1][folds[1]]).all()
    np.testing.assert_array_equal(before[1], after[1])
    np.testing.assert_array_equal(before[0][folds[1]], after[0][folds[1]])  # of the turned stays, by the third fold
    assert not np.array_equal(before[0][folds[2]], after[0][folds[2]])


def test_folds_calibrate_by_risks_that_every_development_stay_gets_from_networks_that_did_not_learn_from_it() -> None:
    """GK2, ME15: training and validation rows are one; each network is measured on the fold that stopped it."""
    rng = np.random.default_rng(6)
    rows = {
        part: rng.normal(size=(count, 62)).astype(np.float32) for part, count in (("train", 200), ("validation", 40))
    }
    died = {part: found[:, 0] + rng.normal(size=len(found)) > 1 for part, found in rows.items()}
    fitted = ensemble.fit(rows, died, FOLDED, seed=1)
    known, outcome = (np.concatenate([part["train"], part["validation"]]) for part in (rows, died))
    np.testing.assert_array_equal(fitted.unseen_died, outcome)
    logits = np.array([member.logits(fitted.scaling.apply(known)) for member in fitted.members])
    assert len(logits) == 3
    nearest = np.abs(logits - fitted.unseen).argmin(axis=0)
    np.testing.assert_allclose(logits[nearest, np.arange(240)], fitted.unseen, atol=1e-5)
    assert np.bincount(nearest).tolist() == pytest.approx([80, 80, 80], abs=1)
    assert fitted.calibration == calibrate(fitted.unseen, outcome)
    slope, offset = fitted.calibration
    np.testing.assert_allclose(
        fitted.risks(known), 1 / (1 + np.exp(-(slope * logits.mean(axis=0) + offset))), rtol=1e-9
    )


def test_a_run_with_folds_says_what_all_its_development_stays_gave(finished: tuple[Path, Path], tmp_path: Path) -> None:
    """GK3: validation is out of fold, over training and validation rows; the counts stay those of the division."""
    data, _ = finished
    run = train(data, tmp_path / "run", recipe=FOLDED)
    assert sum(run.split_sizes.values()) == 400
    assert run.recipe["folds"] == 3
    assert len(json.loads((tmp_path / "run" / "history.json").read_text())) == 3
    deaths = run.split_sizes["train died"] + run.split_sizes["validation died"]
    found = run.figures["validation_sensitivity"][0] * deaths
    assert found == pytest.approx(round(found))
    assert found >= report.RECALL * deaths > found - 2, "the threshold finds four of five of all of them"


def test_figures_of_held_back_stays_compare_no_risks_of_different_fits() -> None:
    """GK2: within folds, whatever the level of a fold's risks."""
    rng = np.random.default_rng(7)
    died = rng.random(1000) < 0.2
    risks = np.clip(0.3 + 0.2 * died + rng.normal(0, 0.2, 1000), 0, 1)
    together, apart, worse = (heldback.empty(died) for _ in range(3))
    together.enter(0, np.arange(1000), risks, 0.5)
    for fold in range(2):
        places = np.arange(fold, 1000, 2)
        apart.enter(fold, places, risks[places] - fold, 0.5 - fold)
        worse.enter(fold, places, rng.random(500), 0.5)
    assert together.auroc() == pytest.approx(figures.auroc(died, risks))
    assert apart.auroc() == pytest.approx(together.auroc(), abs=0.01)
    np.testing.assert_array_equal(apart.called, together.called)
    value, low, high = apart.gain(worse)
    assert value == pytest.approx(apart.auroc()[0] - worse.auroc()[0])
    assert 0 < low < value < high
    assert apart.gain(apart) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("ramps", [0, 3])
@pytest.mark.parametrize("members", [1, 3])
def test_the_served_graph_gives_what_the_trained_networks_give(tmp_path: Path, members: int, ramps: int) -> None:
    """Served = trained: imputation, scaling, ramps, the mean of the logits and calibration are in the graph (ME15)."""
    rng = np.random.default_rng(3)
    rows = rng.normal(50, 20, (300, 62)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.3] = np.nan
    died = rng.random(300) < 0.4
    fitted_scaling = scaling.fit(rows, ramps)
    scaled = fitted_scaling.apply(rows)
    parts, labels = {"train": scaled, "validation": scaled}, {"train": died, "validation": died}
    fitted = [network.fit(parts, labels, NARROW, seed=seed) for seed in range(members)]
    slope, offset = 0.8, -0.3
    layers = [member.layers() for member in fitted]
    graph.write(tmp_path / "icu_mortality.onnx", fitted_scaling, layers, (slope, offset))
    logits = np.mean([member.logits(scaled) for member in fitted], axis=0)
    expected = 1 / (1 + np.exp(-(slope * logits + offset)))
    answered = served(tmp_path, rows)
    np.testing.assert_allclose(answered[:, 1], expected, atol=2e-6)
    np.testing.assert_allclose(answered.sum(axis=1), 1.0, atol=1e-6)


def test_reloaded_weights_give_bit_equal_predictions_row_by_row_and_together(finished: tuple[Path, Path]) -> None:
    """GK5."""
    data, folder = finished
    rows = table.read(data).rows
    whole = served(folder, rows)
    np.testing.assert_array_equal(whole, served(folder, rows))
    np.testing.assert_array_equal(whole[:40], np.concatenate([served(folder, rows[i : i + 1]) for i in range(40)]))


def test_a_rerun_with_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(
    finished: tuple[Path, Path], tmp_path: Path
) -> None:
    """ME8."""
    data, folder = finished
    same = train(data, tmp_path / "same", recipe=NARROW)
    other = train(data, tmp_path / "other", recipe=NARROW, seed=5)
    first = (folder / "icu_mortality.onnx").read_bytes()
    assert same.onnx.read_bytes() == first
    assert other.onnx.read_bytes() != first


def test_a_run_leaves_its_metadata_history_and_charts(finished: tuple[Path, Path]) -> None:
    """GK7."""
    _, folder = finished
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["name"] == "icu_mortality"
    assert metadata["onnx"] == "icu_mortality.onnx"
    assert sum(metadata["split_sizes"].values()) == 400
    value, low, high = metadata["figures"]["test_auroc"]
    assert 0.5 < low <= value <= high <= 1
    histories = json.loads((folder / "history.json").read_text())
    assert [len(history) for history in histories] == [4, 4], "four epochs of each of two networks"
    assert {"loss", "val_loss", "train_accuracy", "val_accuracy"} <= set(histories[0][0])
    for name in ("learning_curves", "confusion_matrix", "roc", "reliability", "scores"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_can_start_from_the_weights_of_another(finished: tuple[Path, Path], tmp_path: Path) -> None:
    """CC29: starting from trained weights begins with a lower loss than starting from chance."""
    data, folder = finished
    train(data, tmp_path / "on", recipe=Recipe(epochs=1, folds=0), init=folder / "weights.npz")
    train(data, tmp_path / "fresh", recipe=Recipe(epochs=1, folds=0))
    on, fresh = (json.loads((tmp_path / name / "history.json").read_text())[0][0]["loss"] for name in ("on", "fresh"))
    assert on < fresh
    with pytest.raises(UserError, match=r"is not the weights\.npz of a run with layers \(8,\)"):
        train(data, tmp_path / "odd", recipe=Recipe(sizes=(8,), dropout=(0.1,)), init=folder / "weights.npz")


def test_a_loss_that_is_no_number_stops_the_run_with_cause_and_advice(tmp_path: Path) -> None:
    """GK11."""
    data = write_table(tmp_path / "stays.csv", 300)
    with pytest.raises(UserError, match=r"the steps are too long\. Lower the learning rate \(now 1e\+20, try 1e\+19\)"):
        train(data, tmp_path / "run", recipe=Recipe(rate=1e20, epochs=5, folds=0))
    rows = np.full((40, 124), np.inf, dtype=np.float32)
    died = np.arange(40) % 2 == 0
    with pytest.raises(UserError, match="a scaled feature is not finite"):
        network.fit({"train": rows, "validation": rows}, {"train": died, "validation": died}, NARROW, seed=1)


def test_training_stops_when_validation_no_longer_improves_and_restores_the_best_epoch() -> None:
    """GK1: early stopping on the validation loss."""
    rng = np.random.default_rng(1)
    rows = {part: rng.normal(size=(120, 124)).astype(np.float32) for part in ("train", "validation")}
    died = {part: rng.random(120) < 0.5 for part in rows}
    fitted = network.fit(rows, died, Recipe(patience=3), seed=1)
    losses = [epoch["val_loss"] for epoch in fitted.history]
    assert len(losses) < 100
    assert fitted.best_epoch == int(np.argmin(losses)) + 1 == len(losses) - 3
    logits = fitted.logits(rows["validation"])
    weight = (~died["train"]).sum() / died["train"].sum()
    loss = np.where(died["validation"], weight * np.log1p(np.exp(-logits)), np.log1p(np.exp(logits))).mean()
    assert loss == pytest.approx(min(losses), rel=1e-5)


def test_calibration_takes_back_what_class_weights_added_and_keeps_the_order() -> None:
    rng = np.random.default_rng(2)
    truth = rng.normal(size=20_000) * 1.5 - 2
    died = rng.random(20_000) < 1 / (1 + np.exp(-truth))
    slope, offset = calibrate(2.0 * truth + 3.0, died)
    assert slope == pytest.approx(0.5, rel=0.05)
    assert offset == pytest.approx(-1.5, rel=0.05)
    backwards = calibrate(-truth, died)
    assert backwards == (1.0, 0.0), "a network that has learnt the opposite must not be turned round silently"


def test_training_longer_needs_no_more_memory() -> None:
    """GK6: the peak after ten times the epochs is the peak after the first ones."""
    rng = np.random.default_rng(1)
    rows = {part: rng.normal(size=(600, 124)).astype(np.float32) for part in ("train", "validation")}
    died = {part: rng.random(600) < 0.5 for part in rows}
    network.fit(rows, died, Recipe(epochs=3, patience=100), seed=1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    network.fit(rows, died, Recipe(epochs=30, patience=100), seed=1)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < 8


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"validation_accuracy": 0.60, "train_accuracy": 0.62}, "try more capacity, layers 256-128-64-32"),
        ({"validation_accuracy": 0.68, "train_accuracy": 0.70}, "try a learning rate of 0.0005"),
        ({"train_accuracy": 0.95}, "try less capacity, layers 64-32-16"),
        ({"validation_auroc": 0.70}, "look at the labels and units"),
        ({"test_auroc": 0.80}, "below the target 0.82"),
    ],
)
def test_a_missed_criterion_names_the_next_thing_to_try(values: dict[str, float], said: str) -> None:
    """GK8, GK11."""
    good = {"validation_accuracy": 0.8, "train_accuracy": 0.82, "validation_auroc": 0.84, "test_auroc": 0.83}
    assert report.advice({name: (value, 0.0, 1.0) for name, value in good.items()}, {"rate": 1e-3}) == ()
    missed = report.advice({name: (value, 0.0, 1.0) for name, value in (good | values).items()}, {"rate": 1e-3})
    assert len(missed) == 1
    assert said in missed[0]


def test_the_abstention_band_holds_a_tenth_of_validation_around_the_threshold() -> None:
    """CC26."""
    scores = np.random.default_rng(4).uniform(0.01, 0.99, 5000)
    low, high = report.abstention_band(scores, 0.2)
    assert low < 0.2 < high
    assert ((scores >= low) & (scores <= high)).mean() == pytest.approx(report.ABSTAIN_SHARE, abs=0.01)
    assert math.log(high / (1 - high)) - math.log(0.25) == pytest.approx(
        math.log(0.25) - math.log(low / (1 - low)), abs=0.01
    )
