"""The committed weights of `fracture` as a runtime sees them (CC35, ME5)."""

from importlib.resources import files

import numpy as np
import onnx
import onnxruntime
import pytest

from triton_models.fracture.card import CARD
from triton_models.fracture.decode import decode

WEIGHTS = files("triton_models.fracture") / CARD.weights
SHAPE = CARD.inputs[0].shape


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(WEIGHTS.read_bytes(), options, providers=["CPUExecutionProvider"])


def batch(rows: int) -> np.ndarray:
    """Smooth random greys: rows of noise would all look alike to the network."""
    rng = np.random.default_rng(8)
    coarse = rng.random((rows, 1, SHAPE[1] // 32, SHAPE[2] // 32))
    grown = coarse.repeat(32, axis=2).repeat(32, axis=3)
    return (grown * 200 + rng.random((rows, *SHAPE)) * 55).astype(np.uint8)


def test_the_file_is_small_and_holds_half_precision() -> None:
    """CC35."""
    data = WEIGHTS.read_bytes()
    assert len(data) <= 25_000_000
    model = onnx.load_from_string(data)
    large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) >= 1024]
    assert large
    assert {tensor.data_type for tensor in large} == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize("rows", [2, 3, 8])
def test_a_row_gets_the_same_bits_in_any_batch(session: onnxruntime.InferenceSession, rows: int) -> None:
    pixels = batch(8)
    alone = [session.run(None, {"pixels": pixels[row : row + 1]}) for row in range(8)]
    together = [session.run(None, {"pixels": pixels[start : start + rows]}) for start in range(0, 8, rows)]
    for output in (0, 1):
        assert np.array_equal(
            np.concatenate([part[output] for part in together]), np.concatenate([part[output] for part in alone])
        )


def test_brightness_and_contrast_of_the_whole_image_hardly_move_a_score(session: onnxruntime.InferenceSession) -> None:
    """Each image is normalised inside the graph: only rounding to whole greys is left of a linear change."""
    pixels = batch(4)
    changed = np.rint(pixels * 0.6 + 40).astype(np.uint8)
    plain, moved = session.run(None, {"pixels": pixels})[0], session.run(None, {"pixels": changed})[0]
    assert np.abs(plain - moved).max() < 0.05


@pytest.mark.parametrize("grey", [0, 255])
def test_an_empty_image_still_gets_a_finite_answer(session: onnxruntime.InferenceSession, grey: int) -> None:
    answer = session.run(["probability"], {"pixels": np.full((1, *SHAPE), grey, np.uint8)})[0]
    assert np.isfinite(answer).all()
    assert len(decode({"probability": answer}, CARD)) == 1


def test_the_card_states_what_was_measured() -> None:
    """CC1, CC26."""
    point = CARD.operating_point
    assert point is not None
    for value, low, high in (point.sensitivity, point.specificity):
        assert 0.0 <= low <= value <= high <= 1.0
    assert 0.0 < CARD.abstention_band[0] <= point.threshold <= CARD.abstention_band[1] < 1.0
    assert CARD.limits
