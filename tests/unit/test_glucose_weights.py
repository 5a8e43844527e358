"""The committed weights as a runtime sees them, the figures beside them, and the floors on people never trained on."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import triton_models
from triton_models import linear
from triton_models.glucose import collection, graph, personal, preprocess, report
from triton_models.glucose.card import CARD, COVERAGE
from triton_models.glucose.decode import decode

FOLDER = Path(triton_models.HOME) / "glucose"
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "cgm"
METADATA = json.loads((FOLDER / "metadata.json").read_text())


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(FOLDER / CARD.weights, options, providers=["CPUExecutionProvider"])


def rows(count: int) -> np.ndarray:
    """Wandering glucose with gaps; the newest is always there."""
    rng = np.random.default_rng(3)
    made = (150 + np.cumsum(rng.normal(0, 4, (count, 36)), axis=1)).astype(np.float32)
    made[:, 1:][rng.random((count, 35)) < 0.2] = np.nan
    return preprocess.anybody(made)


def test_inputs_and_outputs_are_those_of_the_card(session: onnxruntime.InferenceSession) -> None:
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape[1:]) == (CARD.inputs[0].name, "tensor(float)", [48])
    assert (answer.name, answer.type, answer.shape[1:]) == (CARD.outputs[0].name, "tensor(float)", [8, 3])
    assert isinstance(given.shape[0], str), "the batch size must stay open"


@pytest.mark.parametrize("size", [1, 7, 64])
def test_a_row_gets_the_same_answer_in_any_batch(session: onnxruntime.InferenceSession, size: int) -> None:
    """Repeats and other neighbours must not change an answer by more than rounding."""
    given = rows(64)
    (together,) = session.run(None, {"glucose": given})
    parts = [session.run(None, {"glucose": given[at : at + size]})[0] for at in range(0, 64, size)]
    np.testing.assert_allclose(np.concatenate(parts), together, atol=1e-3)


@pytest.mark.parametrize("value", [20.0, 39.0, 150.0, 501.0, 600.0])
@pytest.mark.parametrize("known", [1, 4, 36])
def test_any_level_and_any_gap_gets_an_ordered_answer_within_what_sensors_report(
    session: onnxruntime.InferenceSession, value: float, known: int
) -> None:
    """GL3, GL6."""
    given = np.full((1, 36), np.nan, dtype=np.float32)
    given[:, :known] = value
    (answer,) = session.run(None, {"glucose": preprocess.anybody(given)})
    assert np.isfinite(answer).all()
    assert (np.diff(answer, axis=2) >= 0).all()
    assert answer.min() >= graph.LOWEST
    assert answer.max() <= graph.HIGHEST
    assert len(decode({"forecast": answer})) == 1


def test_the_weights_are_small_enough_to_be_committed_and_their_run_was_a_full_one() -> None:
    """CC35, ME8."""
    assert (FOLDER / CARD.weights).stat().st_size < 1_000_000
    assert not METADATA["quick"]
    assert (METADATA["name"], METADATA["version"]) == (CARD.name, CARD.version)
    assert linear.load(FOLDER).horizons_minutes == CARD.horizons_minutes


@pytest.mark.skipif(not DATA.is_dir(), reason=f"the shared readings are not at {DATA}")
def test_the_committed_weights_reach_the_floors_on_people_that_no_step_of_training_saw(
    session: onnxruntime.InferenceSession,
) -> None:
    """GL1, GL6: at 30 minutes at most 0.85 of persistence and not above linear; intervals hold what they promise."""
    data = collection.load(DATA, stride_minutes=60)
    windows = data.parts["test"]
    (said,) = session.run(None, {"glucose": preprocess.anybody(windows.rows)})
    found = report.measure("test", windows, said, linear.load(FOLDER))
    assert data.data_hash == METADATA["data_hash"]
    assert 1 - found["test_skill_30"][0] <= report.PERSISTENCE_LIMIT
    for minutes in report.REPORTED:
        assert found[f"test_to_linear_{minutes}"][0] <= 1.0
        assert found[f"test_coverage_{minutes}"][0] == pytest.approx(COVERAGE, abs=0.03)
        assert found[f"test_rmse_{minutes}"][0] == pytest.approx(
            METADATA["figures"][f"test_rmse_{minutes}"][0], rel=0.05
        )


def test_a_vector_bends_the_expected_value_and_the_ends_with_it(session: onnxruntime.InferenceSession) -> None:
    """GL2: the graph adds what `personal.correction` says, the interval keeps its width, and zeros change nothing."""
    rng, given = np.random.default_rng(5), rows(50)
    vector, times = rng.normal(0, 0.03, preprocess.VECTOR), rng.uniform(0, 1e9, 50)
    (plain,) = session.run(None, {"glucose": given})
    own = given.copy()
    own[:, preprocess.SLOTS :] = preprocess.effective(np.tile(vector, (50, 1)), times)
    (bent,) = session.run(None, {"glucose": own})
    added = personal.correction(given, vector, times)
    np.testing.assert_allclose(bent[:, :, 1], np.clip(plain[:, :, 1] + added, graph.LOWEST, graph.HIGHEST), atol=1e-3)
    assert np.abs(added).max() > 1
    inside = (bent > graph.LOWEST + 1) & (bent < graph.HIGHEST - 1) & (plain > graph.LOWEST + 1)
    free = inside.all(axis=2)
    np.testing.assert_allclose(
        (bent[:, :, 2] - bent[:, :, 0])[free], (plain[:, :, 2] - plain[:, :, 0])[free], atol=1e-2
    )
