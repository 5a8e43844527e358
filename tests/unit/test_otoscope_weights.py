"""The committed otoscope weights as a runtime sees them: the cards' tensors, equal bits in a batch, floors reached."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import triton_models
from schemas.errors import StepFailed
from triton_models import figures
from triton_models._otoscopy.collection import PATHOLOGIES, divide
from triton_models._otoscopy.scoring import Scorer
from triton_models.otoscope_diagnosis.measure import kinds_of
from triton_models.otoscope_screening.measure import is_abnormal

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
MODELS = {name: triton_models.discover()[name] for name in ("otoscope_screening", "otoscope_diagnosis")}
SCREENING, DIAGNOSIS = MODELS.values()
needs_shared = pytest.mark.skipif(
    not (SHARED / "otoscope.csv").is_file(), reason=f"the shared otoscope set is not at {SHARED}"
)


def session(name: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(MODELS[name].weights_path), options, providers=["CPUExecutionProvider"])


def batch(rows: int) -> np.ndarray:
    """Smooth random colours: rows of noise would all look alike to the network."""
    coarse = np.random.default_rng(8).integers(0, 256, (rows, 3, 8, 8), dtype=np.uint8)
    return coarse.repeat(16, axis=2).repeat(16, axis=3)


@pytest.mark.parametrize("name", MODELS)
def test_the_file_is_small_and_holds_half_precision(name: str) -> None:
    data = MODELS[name].weights_path.read_bytes()
    assert len(data) <= 10_000_000
    model = onnx.load_from_string(data)
    large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) >= 1024]
    weights = [tensor for tensor in large if len(tensor.dims) == 4 and tensor.dims[-1] <= 7]
    assert weights
    assert {tensor.data_type for tensor in large} == {onnx.TensorProto.FLOAT16}
    assert max(entry.version for entry in model.opset_import) <= 17


@pytest.mark.parametrize("name", MODELS)
def test_inputs_and_outputs_are_those_of_the_card(name: str) -> None:
    card, (given,), (answer,) = MODELS[name].card, session(name).get_inputs(), session(name).get_outputs()
    assert (given.name, given.type, tuple(given.shape[1:])) == ("pixels", "tensor(uint8)", card.inputs[0].shape)
    assert (answer.name, tuple(answer.shape[1:])) == ("probability", (len(card.labels),))
    assert isinstance(given.shape[0], str), "the batch size must stay open"


@pytest.mark.parametrize("name", MODELS)
def test_a_row_gets_the_same_bits_in_any_batch_and_its_answer_decodes(name: str) -> None:
    model, pixels = session(name), batch(16)
    alone = np.concatenate([model.run(None, {"pixels": pixels[row : row + 1]})[0] for row in range(16)])
    for rows in (2, 3, 7, 16):
        together = [model.run(None, {"pixels": pixels[start : start + rows]})[0] for start in range(0, 16, rows)]
        assert np.array_equal(np.concatenate(together), alone)
    found = MODELS[name].decode({"probability": alone})
    assert len(found) == 16
    assert {one.label for one in found} <= set(MODELS[name].card.labels)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("level", [0, 255])
def test_an_empty_image_still_gets_a_finite_answer(name: str, level: int) -> None:
    (answer,) = session(name).run(None, {"pixels": np.full((1, 3, 128, 128), level, np.uint8)})
    assert np.isfinite(answer).all()


def test_the_screening_never_says_normal_and_sends_abnormal_on() -> None:
    """OT17: the label says what was looked for, and no more."""
    card = SCREENING.card
    assert card.labels == ("none_of_trained_conditions", "abnormal")
    assert card.follow_up is not None
    assert (card.follow_up.task, card.follow_up.when_label) == ("otoscope_diagnosis", "abnormal")
    below, above = SCREENING.decode({"probability": np.array([[1 - low, low] for low in (0.0, 1.0)], np.float32)})
    assert (below.label, above.label) == card.labels
    assert (below.abstained, above.abstained) == (False, False)


def test_an_unsure_diagnosis_is_abstained_and_a_broken_row_is_no_answer() -> None:
    """OT17: low confidence refers to a clinician."""
    rows = np.array([[0.34, 0.33, 0.33], [0.005, 0.99, 0.005]], np.float32)
    unsure, sure = DIAGNOSIS.decode({"probability": rows})
    assert (unsure.abstained, unsure.label) == (True, "chronic_otitis_media")
    assert (sure.abstained, sure.label) == (False, "earwax_plug")
    assert sure.score == pytest.approx(0.99)
    with pytest.raises(StepFailed):
        DIAGNOSIS.decode({"probability": rows * 2})


def test_the_cards_state_what_was_measured() -> None:
    point = SCREENING.card.operating_point
    assert point is not None
    for value, low, high in (point.sensitivity, point.specificity):
        assert 0.0 < low <= value <= high <= 1.0
    assert SCREENING.card.abstention_band[0] <= point.threshold <= SCREENING.card.abstention_band[1] < 1.0
    assert DIAGNOSIS.card.operating_point is None
    assert DIAGNOSIS.card.positive_label == ""


@needs_shared
def test_the_screening_reaches_its_floor_and_its_stated_figures_on_ears_held_back() -> None:
    """OT1: area under the curve at least 0.92; the card's sensitivity and specificity are what is measured here."""
    held = divide(SHARED).test
    truth, scores = is_abnormal(held), Scorer(SCREENING.weights_path)(held)[:, 1]
    assert figures.rank_auroc(truth, scores) >= SCREENING.card.gate.floor >= 0.92
    point = SCREENING.card.operating_point
    assert point is not None
    groups = [one.group for one in held]
    measured = figures.sensitivity(truth, scores, point.threshold, groups)
    assert measured == pytest.approx(point.sensitivity, abs=0.02)
    assert figures.specificity(truth, scores, point.threshold, groups) == pytest.approx(point.specificity, abs=0.06)


@needs_shared
def test_the_diagnosis_reaches_its_floor_on_ears_held_back() -> None:
    """OT2: balanced accuracy at least 0.70."""
    held = divide(SHARED).only(PATHOLOGIES).test
    said = Scorer(DIAGNOSIS.weights_path)(held).argmax(axis=1)
    value, _, _ = figures.balanced_accuracy(kinds_of(held), said, len(PATHOLOGIES))
    assert value >= DIAGNOSIS.card.gate.floor >= 0.70
