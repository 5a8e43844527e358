"""Training `icu_mortality` from a folder with frozen hold-out, corrections and recipe, and judging what comes out."""

import csv
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs requirements/train.lock")

import triton_models
from clinstream import samples
from schemas.errors import UserError
from triton_models import candidate
from triton_models.icu_mortality import recipe as recipes
from triton_models.icu_mortality import starter, table
from triton_models.icu_mortality.preprocess import FEATURES
from triton_models.icu_mortality.recipe import Recipe
from triton_models.icu_mortality.train import train

ICU = triton_models.discover()["icu_mortality"]
Stay = Mapping[str, float]


def stay(number: int, *, died: bool) -> Stay:
    """A stay that differs from every other in its weight."""
    score = 4 + number % 4 if died else 9 + number % 7
    return {"Age": 30 + number % 50, "Weight": 50 + number / 100, "GCS_last": score, "HR_median": 70 + number % 30}


def write(path: Path, stays: Mapping[int, bool], *, died: bool | None = None) -> Path:
    """A table of the numbered stays with their outcome, or `died` for all."""
    with path.open("w", newline="") as text:
        writer = csv.writer(text)
        writer.writerow([*FEATURES, table.TARGET])
        for number, outcome in stays.items():
            values = stay(number, died=outcome)
            said = outcome if died is None else died
            writer.writerow([*[values.get(name, "") for name in FEATURES], int(said)])
    return path


def outcomes(first: int, last: int) -> dict[int, bool]:
    return {number: number % 4 == 0 for number in range(first, last)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """400 base stays, 50 of them (350 to 399) in the frozen hold-out beside 50 others."""
    write(tmp_path / "base.csv", outcomes(0, 400))
    write(tmp_path / "holdout.csv", outcomes(350, 450))
    return tmp_path


def weights_of(rows: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> set[int]:
    """The numbers of the stays in `rows`."""
    return {round((float(value) - 50) * 100) for value in rows[:, FEATURES.index("Weight")]}


def test_a_frozen_hold_out_is_the_test_part_and_its_stays_are_in_no_other(folder: Path) -> None:
    """CC31, GK2."""
    divided = table.divide(folder)
    parts = {name: weights_of(rows) for name, rows in divided.rows.items()}
    assert parts["test"] == set(range(350, 450))
    assert parts["train"] | parts["validation"] == set(range(350))
    assert not parts["train"] & parts["validation"]
    assert len(parts["validation"]) == pytest.approx(350 * 0.15 / 0.85, abs=2)


def test_a_validation_file_leaves_the_rest_to_training(folder: Path) -> None:
    write(folder / "validation.csv", outcomes(0, 60))
    divided = table.divide(folder)
    assert weights_of(divided.rows["validation"]) == set(range(60))
    assert weights_of(divided.rows["train"]) == set(range(60, 350))
    (folder / "holdout.csv").unlink()
    with pytest.raises(UserError, match=r"validation file but no holdout\.csv"):
        table.divide(folder)


def test_corrections_join_the_training_rows_alone(folder: Path) -> None:
    """S5: a corrected stay of validation or hold-out is withheld, one of the training rows has its outcome replaced."""
    before = table.divide(folder)
    trained, chosen = (sorted(weights_of(before.rows[part])) for part in ("train", "validation"))
    known, judging = trained[0], (chosen[0], 360)
    wrong = {number: number % 4 == 0 for number in (known, *judging, 900, 901)}
    write(folder / "corrections.csv", wrong, died=True)
    after = table.divide(folder)
    assert (after.corrected, after.withheld) == (3, 2)
    for part in ("validation", "test"):
        np.testing.assert_array_equal(after.rows[part], before.rows[part])
        np.testing.assert_array_equal(after.died[part], before.died[part])
    assert weights_of(after.rows["train"]) == {*trained, 900, 901}
    assert len(after.rows["train"]) == len(trained) + 2, "the corrected stay is there once"
    assert after.died["train"][-3:].all()
    assert after.digest != before.digest


def test_a_snapshot_trains_with_its_recipe_and_says_what_it_used(folder: Path, tmp_path: Path) -> None:
    """S5: the recipe beside the rows counts, and the same snapshot gives the same bytes."""
    write(folder / "corrections.csv", dict.fromkeys(range(900, 920), False), died=True)
    (folder / "recipe.json").write_text('{"folds": 0, "epochs": 2, "teachers": ["boosted"]}')
    first, again = (train(folder, tmp_path / name) for name in ("first", "again"))
    assert first.recipe["folds"] == 0
    assert first.metrics["corrected_rows"] == 20
    assert first.split_sizes["test survived"] + first.split_sizes["test died"] == 100
    assert first.onnx.read_bytes() == again.onnx.read_bytes()
    assert first.data_hash == again.data_hash


def test_the_hold_out_moves_nothing_of_what_folds_fit(folder: Path, tmp_path: Path) -> None:
    """GK2, GK9: other held-back stays, the same bytes; other development stays, others."""
    recipe = Recipe(folds=3, epochs=2, teachers=("boosted",))
    write(folder / "base.csv", outcomes(0, 350))
    first = train(folder, tmp_path / "first", recipe=recipe)
    write(folder / "holdout.csv", outcomes(600, 700))
    again = train(folder, tmp_path / "again", recipe=recipe)
    assert again.onnx.read_bytes() == first.onnx.read_bytes()
    assert again.metrics["threshold"] == first.metrics["threshold"]
    write(folder / "base.csv", outcomes(1, 351))
    assert train(folder, tmp_path / "other", recipe=recipe).onnx.read_bytes() != first.onnx.read_bytes()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "must be one JSON object"),
        ("{", "is not JSON"),
        ('{"memmbers": 1}', "there is no 'memmbers' in a recipe"),
        ('{"members": "one"}', "members must be a int"),
        ('{"members": 0}', "members must be at least 1"),
        ('{"folds": 2}', "folds must be 0 .* or 3 to 10"),
        ('{"share": 1.5}', "share above 0 and at most 1"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused_with_the_reason(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "recipe.json").write_text(text)
    with pytest.raises(UserError, match=said):
        recipes.read(tmp_path)


def test_a_recipe_changes_only_what_it_names(tmp_path: Path) -> None:
    assert recipes.read(tmp_path) == Recipe()
    (tmp_path / "recipe.json").write_text('{"members": 2, "rate": 1, "sizes": [64, 32, 16]}')
    assert recipes.read(tmp_path) == replace(Recipe(), members=2, rate=1.0, sizes=(64, 32, 16))


def test_judging_gives_the_gates_metric_and_agrees_with_the_training_run(folder: Path, tmp_path: Path) -> None:
    """CC31: a candidate and the version in service are held to the same frozen rows by the file that is served."""
    run = train(folder, tmp_path / "run", recipe=Recipe(epochs=2, folds=0, teachers=("boosted",)))
    card = candidate.card_of(ICU.card, tmp_path / "run" / "metadata.json", "1.7.0")
    found = ICU.judge(run.onnx, folder, card)
    assert ICU.card.gate.metric in found
    for name in ("auroc", "sensitivity", "specificity", "accuracy"):
        assert found[name] == pytest.approx(run.figures[f"test_{name}"])
    assert found["calibration_error"][0] == pytest.approx(run.metrics["calibration_error"], abs=1e-4)
    assert ICU.judge(run.onnx, folder / "holdout.csv", card) == found
    with pytest.raises(UserError, match="holds no holdout"):
        ICU.judge(run.onnx, tmp_path / "run", card)


def test_a_candidates_card_has_the_operating_point_of_its_run(tmp_path: Path) -> None:
    metadata = starter.FOLDER / "metadata.json"
    record = json.loads(metadata.read_text())
    card = candidate.card_of(ICU.card, metadata)
    assert card.version == "0.1.0"
    assert card.threshold == record["metrics"]["threshold"]
    assert card.abstention_band == (record["metrics"]["abstention_low"], record["metrics"]["abstention_high"])
    assert card.operating_point is not None
    assert list(card.operating_point.sensitivity) == record["figures"]["test_sensitivity"]
    assert candidate.card_of(ICU.card, metadata, "0.2.0").version == "0.2.0"
    other = tmp_path / "metadata.json"
    other.write_text(json.dumps(record | {"name": "chest_xray"}))
    with pytest.raises(UserError, match="is of chest_xray"):
        candidate.card_of(ICU.card, other)
    other.write_text("{}")
    with pytest.raises(UserError, match=r"is not the metadata\.json of a run"):
        candidate.card_of(ICU.card, other)


def test_a_model_without_a_judge_says_so() -> None:
    model = replace(ICU, card=replace(ICU.card, judge=""))
    with pytest.raises(UserError, match="names no `judge`"):
        model.judge


def test_the_starter_is_weaker_than_the_packaged_weights_on_the_packaged_hold_out() -> None:
    """S5: the loop of the demo has something to gain, on stays that neither has seen."""
    card = candidate.card_of(ICU.card, starter.FOLDER / "metadata.json")
    first = ICU.judge(starter.FOLDER / "icu_mortality.onnx", samples.ICU_TRAINING, card)
    packaged = ICU.judge(ICU.weights_path, samples.ICU_TRAINING, ICU.card)
    record = json.loads((starter.FOLDER / "metadata.json").read_text())
    assert first["auroc"] == pytest.approx(record["figures"]["test_auroc"], abs=1e-6)
    assert 0.7 < first["auroc"][0] < packaged["auroc"][0]


def test_a_starter_is_made_from_a_tenth_of_the_training_rows(folder: Path, tmp_path: Path) -> None:
    write(folder / "base.csv", outcomes(0, 400))
    whole = table.divide(folder)
    tenth = table.thin(whole, 0.1)
    assert len(tenth.rows["train"]) == pytest.approx(0.1 * len(whole.rows["train"]), abs=1)
    assert tenth.rows["test"] is whole.rows["test"]
    share = tenth.died["train"].mean() / whole.died["train"].mean()
    assert share == pytest.approx(1.0, abs=0.1)
