"""What holds for every model folder, whoever wrote it; each check raises AssertionError with what is wrong."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from adapters import repository
from schemas import topics
from schemas.card import TensorSpec
from schemas.errors import RejectedInput, StepFailed
from schemas.windows import GlucoseWindow
from triton_models.model import Model

Tensor = npt.NDArray[Any]
LARGEST_WEIGHTS = 25 * 1024 * 1024
ONNX_TYPES = {
    "uint8": onnx.TensorProto.UINT8,
    "uint16": onnx.TensorProto.UINT16,
    "int32": onnx.TensorProto.INT32,
    "int64": onnx.TensorProto.INT64,
    "float16": onnx.TensorProto.FLOAT16,
    "float32": onnx.TensorProto.FLOAT,
}


def rubbish(model: Model) -> Iterator[Any]:
    """What no model of this kind may take."""
    nan, inf = float("nan"), float("inf")
    match model.card.consumes:
        case "image":
            side = (64, 64) if model.card.pixels == "grey" else (64, 64, 3)
            yield np.zeros(side, dtype=np.float32)
            yield np.zeros((2, *side), dtype=np.uint8)
            yield np.zeros((0, *side[1:]), dtype=np.uint8)
            yield np.zeros((1, 1, *side[2:]), dtype=np.uint8)
            yield np.zeros((64, 64) if len(side) == 3 else (64, 64, 3), dtype=np.uint8)
        case "vitals":
            known = dict.fromkeys(model.features, 1.0)
            yield {**known, "no such feature": 1.0}
            for wrong in (inf, -inf, 1e30, -1e30):
                yield {**known, model.features[-1]: wrong}
        case "glucose":
            yield GlucoseWindow((), ())
            yield GlucoseWindow((0.0, 300.0, 600.0), (100.0,))
            yield GlucoseWindow((0.0, 300.0, 600.0), (100.0, 100.0, nan))
            yield GlucoseWindow((0.0, 300.0, 600.0), (100.0, 100.0, inf))
            yield GlucoseWindow((0.0, 300.0, 600.0), (5.6, 5.6, 5.6))


def refuses_rubbish(model: Model) -> None:
    """`prepare` answers what it must not see with a RejectedInput that quotes none of it, and nothing else."""
    for thing in rubbish(model):
        with pytest.raises(RejectedInput) as refused:
            model.prepare(thing)
        assert str(refused.value), "a refusal says why"


def sample(spec: TensorSpec, rows: int) -> Tensor:
    """Zeros as the warm-up sends them."""
    return np.zeros((rows, *[max(1, size) for size in spec.shape]), dtype=spec.dtype)


def run(model: Model, rows: int) -> dict[str, Tensor]:
    """What the weights answer to zeros."""
    session = onnxruntime.InferenceSession(model.weights_path, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in model.card.outputs]
    inputs = {spec.name: sample(spec, rows) for spec in model.card.inputs}
    return dict(zip(names, session.run(names, inputs), strict=True))


def weights_are_those_of_the_card(model: Model) -> None:
    """The graph takes and gives the card's tensors by name, type and shape, and its answer decodes, row by row."""
    assert model.weights_path.stat().st_size <= LARGEST_WEIGHTS
    graph = onnx.load(model.weights_path, load_external_data=False).graph
    for specs, values in ((model.card.inputs, graph.input), (model.card.outputs, graph.output)):
        found = {value.name: value.type.tensor_type for value in values}
        for spec in specs:
            assert found[spec.name].elem_type == ONNX_TYPES[spec.dtype], spec.name
            dims = [dim.dim_value for dim in found[spec.name].shape.dim]
            assert len(dims) == 1 + len(spec.shape), spec.name
            for said, size in zip(spec.shape, dims[1:], strict=True):
                assert size in (0, said), spec.name
    outputs = run(model, 3)
    for spec in model.card.outputs:
        assert outputs[spec.name].shape == (3, *spec.shape)
        assert outputs[spec.name].dtype == spec.dtype
    findings = model.decode(outputs, model.card)  # as steps call it: with the card of the version that answered
    assert len(findings) == 3
    for finding in findings:
        assert finding.label in model.card.labels
        assert set(finding.probabilities) in (set(), set(model.card.labels))
        assert [point.horizon_minutes for point in finding.forecast] == list(model.card.horizons_minutes)


def refuses_malformed_answers(model: Model) -> None:
    """`decode` does not turn what is served into findings when it is not what the card describes."""
    right = run(model, 2)
    name = model.card.outputs[0].name
    for wrong in (right[name][..., :-1], right[name][0], np.full_like(right[name], np.nan)):
        broken: Mapping[str, Tensor] = {**right, name: wrong}
        with pytest.raises(StepFailed):
            model.decode(broken)
    if len(right[name].shape) == 2:
        with pytest.raises(StepFailed):
            model.decode({**right, name: right[name] * 2})


def has_a_triton_configuration(model: Model) -> None:
    """Both profiles and every lane parse as Triton's own message and warm up what the card serves."""
    for profile in ("cpu", "a30"):
        for name in repository.names(model.card):
            text = repository.config_text(model.card, profile, name.endswith("-stat"))
            config = text_format.Parse(text, model_config_pb2.ModelConfig())
            assert config.name == name
            assert config.max_batch_size == model.card.serving.max_batch_size
            assert [each.name for each in config.input] == [spec.name for spec in model.card.inputs]
            assert {spec.name for spec in model.card.outputs} <= {each.name for each in config.output}


def has_topics(model: Model) -> None:
    """Results and simulated results have a topic each."""
    names = {row.name for row in topics.topics([model.card.name])}
    assert {f"results.{model.card.name}", f"simulated.{model.card.name}"} <= names


def figures_are_those_of_the_description(model: Model) -> None:
    """MODEL.md says what the card says: version, use, threshold, band, sensitivity and specificity."""
    card = model.card
    text = (model.weights_path.parent / "MODEL.md").read_text(encoding="utf-8")
    numbers = {float(found) for found in re.findall(r"(?<![\w.])\d+(?:\.\d+)?(?![\w])(?!\.\d)", text)}
    assert card.name in text
    assert card.version in text, "MODEL.md does not name the card's version"
    assert card.use_status in text.lower()
    point = card.operating_point
    if point is not None:
        shown = {"threshold": point.threshold, **dict(zip(("low", "high"), card.abstention_band, strict=True))}
        for what, value in shown.items():
            assert value in numbers, f"{what} {value} does not stand in MODEL.md"
        for what, figures in (("sensitivity", point.sensitivity), ("specificity", point.specificity)):
            for value in figures:
                assert {value, round(value, 3), round(value, 4)} & numbers, f"{what} {value} does not stand in MODEL.md"
