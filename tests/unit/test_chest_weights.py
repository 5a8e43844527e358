"""The committed weights as a runtime sees them: the card's tensors, equal results in any batch, robust to exposure."""

from importlib.resources import files

import numpy as np
import onnx
import onnxruntime
import pytest

from triton_models.chest_xray.card import CARD
from triton_models.chest_xray.decode import decode

WEIGHTS = files("triton_models.chest_xray") / CARD.weights


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(WEIGHTS.read_bytes(), options, providers=["CPUExecutionProvider"])


def batch(rows: int) -> np.ndarray:
    """Smooth random greys: rows of noise would all look alike to the network."""
    rng = np.random.default_rng(8)
    side = CARD.inputs[0].shape[1]
    coarse = rng.random((rows, 1, 8, 8))
    grown = coarse.repeat(side // 8, axis=2).repeat(side // 8, axis=3)
    return (grown * 200 + rng.random((rows, 1, side, side)) * 55).astype(np.uint8)


def test_the_file_is_small_enough_for_the_repository_and_holds_half_precision() -> None:
    data = WEIGHTS.read_bytes()
    assert len(data) <= 25_000_000
    model = onnx.load_from_string(data)
    large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) >= 1024]
    assert large
    assert {tensor.data_type for tensor in large} == {onnx.TensorProto.FLOAT16}
    assert max(entry.version for entry in model.opset_import) <= 17


def test_inputs_and_outputs_are_those_of_the_card(session: onnxruntime.InferenceSession) -> None:
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, tuple(given.shape[1:])) == ("pixels", "tensor(uint8)", CARD.inputs[0].shape)
    assert (answer.name, answer.type, tuple(answer.shape[1:])) == ("probability", "tensor(float)", (2,))
    assert isinstance(given.shape[0], str), "the batch size must stay open"


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 8, 16])
def test_a_row_gets_the_same_bits_in_any_batch(session: onnxruntime.InferenceSession, rows: int) -> None:
    pixels = batch(16)
    alone = np.concatenate([session.run(None, {"pixels": pixels[row : row + 1]})[0] for row in range(16)])
    together = [session.run(None, {"pixels": pixels[start : start + rows]})[0] for start in range(0, 16, rows)]
    assert np.array_equal(np.concatenate(together), alone)


def test_answers_are_probabilities_that_the_decoder_accepts(session: onnxruntime.InferenceSession) -> None:
    (answer,) = session.run(None, {"pixels": batch(8)})
    assert answer.dtype == np.float32
    assert len(decode({"probability": answer}, CARD)) == 8


def test_brightness_and_contrast_of_the_whole_image_hardly_move_a_score(session: onnxruntime.InferenceSession) -> None:
    """Each image is normalised inside the graph: only rounding to whole greys is left of a linear change."""
    pixels = batch(4)
    changed = np.rint(pixels * 0.6 + 40).astype(np.uint8)
    (plain,), (moved,) = session.run(None, {"pixels": pixels}), session.run(None, {"pixels": changed})
    assert np.abs(plain - moved).max() < 0.05


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_an_empty_image_still_gets_a_finite_answer(session: onnxruntime.InferenceSession, grey: int) -> None:
    side = CARD.inputs[0].shape[1]
    (answer,) = session.run(None, {"pixels": np.full((1, 1, side, side), grey, np.uint8)})
    assert np.isfinite(answer).all()


def test_the_card_states_what_was_measured() -> None:
    point = CARD.operating_point
    assert point is not None
    for value, low, high in (point.sensitivity, point.specificity):
        assert 0.0 < low <= value <= high <= 1.0
    assert 0.0 < CARD.abstention_band[0] <= point.threshold <= CARD.abstention_band[1] < 1.0
    assert CARD.limits
    assert CARD.gate.floor >= 0.96
