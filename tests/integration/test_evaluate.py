"""`clinstream evaluate` as a user calls it, through a real Triton; the figures are recomputed from the weights."""

import asyncio
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
import pytest
from PIL import Image

import triton_models
from adapters import imaging, repository
from adapters.triton import TritonClient
from tests.support import readings, triton_server
from triton_models import figures, series
from triton_models.glucose import preprocess

ICU = triton_models.discover()["icu_mortality"]
CHEST = triton_models.discover()["chest_xray"]
GLUCOSE = triton_models.discover()["glucose"]
TARGET = "died"


@pytest.fixture(autouse=True)
def with_triton(tmp_path: Path) -> None:
    """Skips where no Triton can run."""
    triton_server.lone(tmp_path / "unused")


def evaluate(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """The command in a home where no stack runs, so that it brings a server of its own."""
    argv = [sys.executable, "-m", "clinstream", "evaluate", *arguments, "--home", str(home)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)


def write_stays(path: Path, rows: int) -> tuple[Any, Any]:
    """A table with shuffled columns, one too many, and two rows that are no good; (rows, deaths) of the rest."""
    rng = np.random.default_rng(5)
    names = list(ICU.features)
    values, died = [], []
    with path.open("w", newline="") as text:
        writer = csv.writer(text)
        order = list(rng.permutation(len(names)))
        writer.writerow([TARGET, "note", *[names[place] for place in order]])
        for number in range(rows):
            features: dict[str, float | None] = dict.fromkeys(names)
            features |= {"Age": float(rng.integers(20, 90)), "GCS_last": float(rng.integers(3, 16))}
            features |= {"HR_first": float(rng.integers(50, 140)), "Temp_first": 37.0}
            if number == 3:
                features["Temp_first"] = 98.6
            cells = ["" if features[names[place]] is None else features[names[place]] for place in order]
            label: int | str = int(rng.random() < 0.4)
            if number == 5:
                cells[0] = "?"
            writer.writerow([label, "x", *cells])
            if number not in (3, 5):
                values.append(ICU.prepare(features))
                died.append(bool(label))
    return np.stack(values), np.array(died)


def scores(model: triton_models.Model, rows: Any) -> Any:
    """Probabilities of the positive label straight from the weights."""
    session = onnxruntime.InferenceSession(model.weights_path, providers=["CPUExecutionProvider"])
    return session.run(None, {model.card.inputs[0].name: rows})[0][:, 1].astype(np.float64)


def test_a_table_gives_the_figures_of_the_served_model_and_names_what_it_could_not_read(tmp_path: Path) -> None:
    """Architecture, JSON shapes: floors and figures are checked through the served model."""
    rows, died = write_stays(tmp_path / "stays.csv", 700)
    done = evaluate(tmp_path, "icu_mortality", "--table", str(tmp_path / "stays.csv"), "--target", TARGET, "--json")
    assert done.returncode == 1, done.stderr
    assert "not readable: line 7:" in done.stderr
    assert "is not a number" in done.stderr
    found = json.loads(done.stdout)
    expected = scores(ICU, rows)
    threshold = ICU.card.threshold
    low, high = ICU.card.abstention_band
    assert found["model"] == "icu_mortality"
    assert found["version"] == ICU.card.version
    assert found["threshold"] == threshold
    assert (found["n"], found["positives"]) == (698, int(died.sum()))
    assert (found["refused"], found["unreadable"]) == (1, 1)
    assert found["auroc"] == pytest.approx(figures.auroc(died, expected), abs=1e-4)
    assert found["sensitivity"] == pytest.approx(figures.sensitivity(died, expected, threshold), abs=1e-4)
    assert found["specificity"] == pytest.approx(figures.specificity(died, expected, threshold), abs=1e-4)
    assert found["abstained"] == int(((expected >= low) & (expected <= high)).sum())


def test_a_table_that_lacks_columns_names_them_before_any_server_is_started(tmp_path: Path) -> None:
    (tmp_path / "stays.csv").write_text("Age,died\n50,1\n")
    done = evaluate(tmp_path, "icu_mortality", "--table", str(tmp_path / "stays.csv"), "--target", TARGET)
    assert done.returncode == 2
    assert "lacks the columns: Gender, Height" in done.stderr


def write_pictures(folder: Path) -> list[tuple[str, str, str]]:
    """Six grey noise pictures of three people, and one file that is no picture; (path, label, group)."""
    rng = np.random.default_rng(6)
    rows = []
    for number in range(6):
        grey = np.clip(rng.normal(110 + 20 * (number % 2), 40, (220, 200)), 0, 255).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"picture{number}.png")
        rows.append((f"picture{number}.png", "pneumonia" if number % 2 else "normal", f"person{number // 2}"))
    (folder / "broken.jpg").write_bytes(b"<html>no picture</html>")
    return [*rows, ("broken.jpg", "normal", "person9"), ("missing.png", "normal", "person9")]


def test_a_manifest_of_pictures_is_judged_by_person_and_bad_files_are_named(tmp_path: Path) -> None:
    rows = write_pictures(tmp_path)
    with (tmp_path / "cases.csv").open("w", newline="") as text:
        csv.writer(text).writerows([("label", "path", "group", "source"), *[(b, a, c, "here") for a, b, c in rows]])
    argv = ["chest_xray", "--manifest", str(tmp_path / "cases.csv"), "--root", str(tmp_path), "--json"]
    done = evaluate(tmp_path, *argv)
    assert done.returncode == 1, done.stderr
    assert "not readable: broken.jpg" in done.stderr
    assert "not readable: missing.png" in done.stderr
    found = json.loads(done.stdout)
    pixels = [
        CHEST.prepare(imaging.to_display(imaging.decode_picture((tmp_path / path).read_bytes())))
        for path, _, _ in rows[:6]
    ]
    expected = scores(CHEST, np.stack(pixels))
    truth = [label == "pneumonia" for _, label, _ in rows[:6]]
    people = [group for _, _, group in rows[:6]]
    assert (found["n"], found["positives"], found["unreadable"]) == (6, 3, 2)
    assert found["auroc"] == pytest.approx(figures.auroc(truth, expected, people), abs=1e-4)


def test_a_label_that_the_model_does_not_know_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("path,label\na.png,normal\nb.png,healthy\n")
    done = evaluate(tmp_path, "chest_xray", "--manifest", str(tmp_path / "cases.csv"))
    assert done.returncode == 2
    assert "cases.csv line 3: the label 'healthy' is not one of normal, pneumonia" in done.stderr


def test_readings_give_the_figures_of_the_served_forecaster_beside_its_baselines(tmp_path: Path) -> None:
    """GL5, GL6; architecture, JSON shapes: a file never seen, unsorted, with repeats, a gap and a wearer in mmol/L."""
    given = readings.table(people=4, readings=150).with_row_index()
    given = given.filter((pl.col("index") < 200) | (pl.col("index") > 210)).drop("index")
    foreign = given.filter(pl.col("subject") == "wearer 3").with_columns(pl.col("glucose_mg_dl") / 18)
    mixed = pl.concat([given.filter(pl.col("subject") != "wearer 3"), foreign, given[:20]])
    path = readings.write(tmp_path / "cgm.parquet", mixed.sample(fraction=1.0, shuffle=True, seed=2))
    done = evaluate(tmp_path, "glucose", "--readings", str(path), "--json")
    assert done.returncode == 0, done.stderr
    assert "left out: 20 readings repeat a time" in done.stderr
    assert "left out: 1 subjects look like mmol/L" in done.stderr
    found = json.loads(done.stdout)
    assert (found["model"], found["version"], found["people"]) == ("glucose", GLUCOSE.card.version, 3)
    truth, said, rows = straight_through(path)
    assert found["n_windows"] == len(truth)
    error = said[:, :, 1] - truth
    for at, minutes in enumerate(("30", "60", "120")):
        assert found["rmse"][minutes] == pytest.approx(np.sqrt(np.nanmean(error[:, at] ** 2)), abs=0.02)
        assert found["mae"][minutes] == pytest.approx(np.nanmean(np.abs(error[:, at])), abs=0.02)
        still = np.sqrt(np.nanmean((rows[:, 0] - truth[:, at]) ** 2))
        assert found["persistence_rmse"][minutes] == pytest.approx(still, abs=1e-3)
        assert found["linear_rmse"][minutes] > 0
    inside = (truth >= said[:, :, 0]) & (truth <= said[:, :, 2])
    assert found["coverage"]["0.9"] == pytest.approx(inside[np.isfinite(truth)].mean(), abs=0.01)


def straight_through(path: Path) -> tuple[Any, Any, Any]:
    """Truth [n, 3], forecasts [n, 3, 3] and rows of a file's windows, straight from the weights."""
    truths, rows = [], []
    for one in series.read(path).series:
        places = series.strided(one.times_s, 15)
        places = places[preprocess.enough(one.times_s, places)]
        truth = np.stack([series.truth(one, places, minutes) for minutes in (30, 60, 120)], axis=1)
        known = np.isfinite(truth).any(axis=1)
        truths.append(truth[known])
        rows.append(preprocess.on_grid(one.times_s, one.glucose_mg_dl, one.times_s[places[known]]))
    session = onnxruntime.InferenceSession(GLUCOSE.weights_path, providers=["CPUExecutionProvider"])
    (said,) = session.run(None, {"glucose": preprocess.anybody(np.concatenate(rows))})
    at = [GLUCOSE.card.horizons_minutes.index(minutes) for minutes in (30, 60, 120)]
    return np.concatenate(truths), said[:, at], np.concatenate(rows)


def test_a_file_that_holds_no_readings_says_so_before_any_server_is_started(tmp_path: Path) -> None:
    (tmp_path / "cgm.parquet").write_text("no Parquet at all")
    done = evaluate(tmp_path, "glucose", "--readings", str(tmp_path / "cgm.parquet"), "--json")
    assert done.returncode == 2
    assert "cannot be read as Parquet" in done.stderr
    assert "name them with --readings FILE.parquet" in evaluate(tmp_path, "glucose").stderr


def test_a_server_that_already_serves_the_model_is_used_and_left_alone(tmp_path: Path) -> None:
    """Evaluation must measure what is served, where something is served."""
    write_stays(tmp_path / "stays.csv", 60)
    server = triton_server.lone(tmp_path / "server")
    (name,) = repository.build(server.settings, triton_server.entries("icu_mortality"))

    async def through_it() -> tuple["subprocess.CompletedProcess[str]", int, set[str]]:
        await server.start()
        try:
            async with TritonClient(server.settings) as client:
                await client.reconcile([name])
                before = (await client.load_of(name)).rows
                endpoints = {"triton": {"grpc": server.settings.grpc}}
                (tmp_path / "endpoints.json").write_text(json.dumps(endpoints))
                table = ["--table", str(tmp_path / "stays.csv"), "--target", TARGET]
                done = await asyncio.to_thread(evaluate, tmp_path, "icu_mortality", *table, "--json")
                return done, (await client.load_of(name)).rows - before, await client.loaded()
        finally:
            await server.stop()

    done, rows, loaded = asyncio.run(through_it())
    found = json.loads(done.stdout)
    assert found["served_by"] == f"the running stack's Triton at {server.settings.grpc}"
    assert rows == found["n"] == 58
    assert loaded == {name}
