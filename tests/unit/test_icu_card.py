"""The figures on the card are those of the committed weights, and the run that made them is beside them."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import triton_models
from triton_models import figures
from triton_models.icu_mortality import table
from triton_models.icu_mortality.card import CARD

FOLDER = Path(triton_models.HOME) / "icu_mortality"
TABLE = Path(__file__).resolve().parents[3] / "shared" / "data" / "tabular" / "icu_mortality_62_features.csv.gz"
METADATA = json.loads((FOLDER / "metadata.json").read_text())
FLOOR, TARGET = 0.75, 0.82


def test_the_card_repeats_what_the_run_measured() -> None:
    """A card edited by hand must not drift from its weights."""
    point, found = CARD.operating_point, METADATA["figures"]
    assert point is not None
    assert METADATA["version"] == CARD.version
    assert not METADATA["quick"]
    assert point.threshold == METADATA["metrics"]["threshold"]
    assert list(point.sensitivity) == pytest.approx(found["test_sensitivity"], abs=5e-4)
    assert list(point.specificity) == pytest.approx(found["test_specificity"], abs=5e-4)
    assert CARD.abstention_band == (METADATA["metrics"]["abstention_low"], METADATA["metrics"]["abstention_high"])
    assert point.threshold >= CARD.abstention_band[0]


@pytest.mark.skipif(not TABLE.is_file(), reason=f"the shared table is not at {TABLE}")
def test_the_committed_weights_reach_the_figures_on_rows_that_no_step_of_training_saw() -> None:
    """GK3: validation accuracy and AUROC, out of fold; test AUROC by the file; ME8: the figures can be had again."""
    found = table.read(TABLE)
    parts = table.split(found.positive)
    parts["train"] = np.concatenate([parts["train"], parts["validation"]])  # with folds, all of them train
    session = onnxruntime.InferenceSession(FOLDER / CARD.weights, providers=["CPUExecutionProvider"])
    scores = session.run(["probability"], {"features": found.rows})[0][:, 1].astype(np.float64)
    for part in ("train", "test"):
        value = figures.auroc(found.positive[parts[part]], scores[parts[part]])
        assert value == pytest.approx(METADATA["figures"][f"{part}_auroc"], abs=1e-6)
    for part in ("validation", "test"):
        assert METADATA["figures"][f"{part}_auroc"][0] >= FLOOR
    assert METADATA["figures"]["validation_accuracy"][0] >= 0.70
    called = scores[parts["test"]] >= CARD.threshold
    assert (called == found.positive[parts["test"]]).mean() == pytest.approx(METADATA["figures"]["test_accuracy"][0])


def test_the_weights_are_small_enough_to_be_committed() -> None:
    """CC35."""
    assert (FOLDER / CARD.weights).stat().st_size < 2_000_000
