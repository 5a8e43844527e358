"""The committed weights as a runtime sees them: the card's tensors, equal results in any batch, robust to exposure."""

from importlib.resources import files
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from triton_models.chest_xray.activation import add_map
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
    (given,), (answer, places) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, tuple(given.shape[1:])) == ("pixels", "tensor(uint8)", CARD.inputs[0].shape)
    assert (answer.name, answer.type, tuple(answer.shape[1:])) == ("probability", "tensor(float)", (2,))
    assert (places.name, places.type, tuple(places.shape[1:])) == ("places", "tensor(float)", CARD.outputs[1].shape)
    assert isinstance(given.shape[0], str), "the batch size must stay open"


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 8, 16])
def test_a_row_gets_the_same_bits_in_any_batch(session: onnxruntime.InferenceSession, rows: int) -> None:
    pixels = batch(16)
    alone = [session.run(None, {"pixels": pixels[row : row + 1]}) for row in range(16)]
    together = [session.run(None, {"pixels": pixels[start : start + rows]}) for start in range(0, 16, rows)]
    for output in (0, 1):
        assert np.array_equal(
            np.concatenate([part[output] for part in together]), np.concatenate([part[output] for part in alone])
        )


def test_the_map_changes_no_bit_of_the_answer_and_means_to_it(tmp_path: Path) -> None:
    """ME5: the file without the map answers the same; places' log odds average to those of the answer (Zhou 2016)."""
    model = onnx.load_from_string(WEIGHTS.read_bytes())
    del model.graph.output[1]
    kept = [node for node in model.graph.node if not node.output[0].startswith("places")]
    assert len(kept) < len(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.initializer.remove(next(each for each in model.graph.initializer if each.name.startswith("places")))
    onnx.save(model, str(tmp_path / "plain.onnx"))
    runs = []
    for made in range(2):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        plain = onnxruntime.InferenceSession(str(tmp_path / "plain.onnx"), options, providers=["CPUExecutionProvider"])
        runs.append([plain.run(None, {"pixels": batch(16)[start : start + 4]}) for start in range(0, 16, 4)])
        assert add_map(tmp_path / "plain.onnx", CARD.outputs[1].shape[0]) is (made == 0)
    (before, after) = runs
    for (old,), (new, places) in zip(before, after, strict=True):
        assert np.array_equal(old, new)
        odds = np.log(new[:, 1].astype(np.float64) / new[:, 0])
        assert places.mean(axis=(1, 2)) == pytest.approx(odds, abs=1e-3)
    assert (tmp_path / "plain.onnx").stat().st_size <= len(WEIGHTS.read_bytes()) + 200


def test_answers_are_probabilities_that_the_decoder_accepts(session: onnxruntime.InferenceSession) -> None:
    (answer,) = session.run(["probability"], {"pixels": batch(8)})
    assert answer.dtype == np.float32
    assert len(decode({"probability": answer}, CARD)) == 8


def test_brightness_and_contrast_of_the_whole_image_hardly_move_a_score(session: onnxruntime.InferenceSession) -> None:
    """Each image is normalised inside the graph: only rounding to whole greys is left of a linear change."""
    pixels = batch(4)
    changed = np.rint(pixels * 0.6 + 40).astype(np.uint8)
    plain, moved = (session.run(None, {"pixels": each})[0] for each in (pixels, changed))
    assert np.abs(plain - moved).max() < 0.05


@pytest.mark.parametrize("grey", [0, 128, 255])
def test_an_empty_image_still_gets_a_finite_answer(session: onnxruntime.InferenceSession, grey: int) -> None:
    side = CARD.inputs[0].shape[1]
    answer, places = session.run(None, {"pixels": np.full((1, 1, side, side), grey, np.uint8)})
    assert np.isfinite(answer).all()
    assert np.isfinite(places).all()
    assert len(decode({"probability": answer, "places": places}, CARD)) == 1


def test_the_card_states_what_was_measured() -> None:
    point = CARD.operating_point
    assert point is not None
    for value, low, high in (point.sensitivity, point.specificity):
        assert 0.0 < low <= value <= high <= 1.0
    assert 0.0 < CARD.abstention_band[0] <= point.threshold <= CARD.abstention_band[1] < 1.0
    assert CARD.limits
    assert CARD.gate.floor >= 0.96
