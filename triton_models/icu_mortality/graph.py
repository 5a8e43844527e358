"""The served ONNX graph, written node by node from trained arrays; no torch, no training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from triton_models.icu_mortality.scaling import Scaling

Array = npt.NDArray[np.float32]
OPSET = 17
RAMP = {"none": np.float32(0), "whole": np.float32(1), "half": np.float32(0.5)}
IR_VERSION = 9


def write(
    path: Path, scaling: Scaling, members: Sequence[Sequence[tuple[Array, Array]]], calibration: tuple[float, float]
) -> None:
    """Writes `features` float32 [batch, 62] (NaN: missing) to `probability` float32 [batch, 2] (survived, died).

    A member is its layers, (weight [out, in], bias [out]), all but the last followed by ReLU, the last with one output,
    the logit. `calibration` is (slope, offset) applied to the mean logit of the members. The same arrays give the same
    bytes.
    """
    graph = _Graph()
    missing = graph.node("IsNaN", ["features"])
    filled = graph.node("Where", [missing, graph.constant("median", scaling.median), "features"])
    cut = graph.node("Max", [filled, graph.constant("low", scaling.low)])
    cut = graph.node("Min", [cut, graph.constant("high", scaling.high)])
    centred = graph.node("Sub", [cut, graph.constant("mean", scaling.mean)])
    scaled = graph.node("Div", [centred, graph.constant("deviation", scaling.deviation)])
    flags = graph.node("Cast", [missing], to=TensorProto.FLOAT)
    value = graph.node("Concat", [scaled, flags, *graph.ramps(filled, scaling)], axis=1)
    logits = [graph.member(f"member{place}", value, layers) for place, layers in enumerate(members)]
    value = graph.node("Mean", logits)
    slope, offset = calibration
    steep = graph.node("Mul", [value, graph.constant("slope", np.array([slope], dtype=np.float32))])
    logit = graph.node("Add", [steep, graph.constant("offset", np.array([offset], dtype=np.float32))])
    died = graph.node("Sigmoid", [logit])
    survived = graph.node("Sub", [graph.constant("one", np.array([1], dtype=np.float32)), died])
    graph.node("Concat", [survived, died], output="probability", axis=1)
    onnx.save_model(graph.model(len(scaling.median)), path)


class _Graph:
    """Nodes and constants in the order in which they were asked for."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, name: str, value: Array) -> str:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=np.float32), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        output = output or f"{kind.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def ramps(self, filled: str, scaling: Scaling) -> list[str]:
        """How far each value has come along each ramp, less a half."""
        if not scaling.ramps:
            return []
        none, whole, half = (self.constant(f"ramp_{name}", np.array([value])) for name, value in RAMP.items())
        found = []
        for place, (start, width) in enumerate(scaling.ramps):
            over = self.node("Sub", [filled, self.constant(f"ramp{place}_start", start)])
            along = self.node("Div", [over, self.constant(f"ramp{place}_width", width)])
            along = self.node("Min", [self.node("Max", [along, none]), whole])
            found.append(self.node("Sub", [along, half]))
        return found

    def member(self, name: str, value: str, layers: Sequence[tuple[Array, Array]]) -> str:
        """The logit of one network."""
        for place, (weight, bias) in enumerate(layers):
            held = [self.constant(f"{name}_weight{place}", weight), self.constant(f"{name}_bias{place}", bias)]
            value = self.node("Gemm", [value, *held], transB=1)
            if place < len(layers) - 1:
                value = self.node("Relu", [value])
        return value

    def model(self, features: int) -> Any:
        graph = helper.make_graph(
            self._nodes,
            "icu_mortality",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", features])],
            [helper.make_tensor_value_info("probability", TensorProto.FLOAT, ["batch", 2])],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="clinstream", opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model
