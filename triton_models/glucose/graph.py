"""The served ONNX graph, written node by node from trained arrays; no torch, no training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from triton_models.glucose.card import CARD, HORIZONS_MINUTES
from triton_models.glucose.personal import UNITS, figures
from triton_models.glucose.preprocess import PERSONAL, SLOTS

Array = npt.NDArray[np.float32]
OPSET = 17
IR_VERSION = 9
# What sensors can report: inputs and forecasts are kept within it.
LOWEST, HIGHEST = 39.0, 501.0
# Around these the network sees glucose: its level, and how far earlier readings were from the newest.
LEVEL, LEVEL_SPREAD, CHANGE_SPREAD, STEP_SPREAD = 150.0, 60.0, 40.0, 8.0


@dataclass(frozen=True, slots=True)
class Network:
    """What was learnt. `layers` by name as torch keeps them: `first`, `block<n>.0`, `block<n>.1`, `last`, `straight`.

    `spread` is the typical change by horizon (mg/dL), in which the network answers; `low` and `high` stretch the
    interval's halves by horizon (conformal calibration).
    """

    layers: Mapping[str, tuple[Array, Array]]
    blocks: int
    spread: Array
    low: Array
    high: Array


def features(rows: Array) -> Array:
    """What the graph shows the network, float32 [rows, 106].

    Level of the newest reading, 35 changes from it (0 where missing), 35 steps from slot to slot (0 where either is
    missing), 35 missing flags. Steps repeat what changes hold, at a scale at which the last minutes can be learnt.
    """
    cut = np.clip(rows, LOWEST, HIGHEST)
    newest, flags = cut[:, :1], np.isnan(cut)
    filled = np.where(flags, newest, cut)
    changes = (filled[:, 1:] - newest) / CHANGE_SPREAD
    steps = (filled[:, :-1] - filled[:, 1:]) / STEP_SPREAD * ~(flags[:, :-1] | flags[:, 1:])
    parts = [(newest - LEVEL) / LEVEL_SPREAD, changes, steps, flags[:, 1:]]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def write(path: Path, network: Network) -> None:
    """Writes `glucose` float32 [batch, 48] to `forecast` float32 [batch, horizons, 3] (low, expected, high, mg/dL)."""
    graph = _Graph()
    newest, seen, filled, own = _seen(graph)
    value = graph.node("Relu", [graph.linear(seen, network, "first")])
    for place in range(network.blocks):
        inner = graph.node("Relu", [graph.linear(value, network, f"block{place}.0")])
        value = graph.node("Relu", [graph.node("Add", [value, graph.linear(inner, network, f"block{place}.1")])])
    heads = graph.linear(value, network, "last")
    horizons = len(network.spread)
    sizes = graph.whole("sizes", [horizons] * 3)
    middle, below, above = (f"head{place}" for place in range(3))
    graph.split(heads, [middle, below, above], sizes)
    middle = graph.node("Add", [middle, graph.linear(seen, network, "straight")])
    middle = graph.node("Add", [graph.node("Mul", [middle, graph.constant("spread", network.spread)]), newest])
    middle = graph.node("Add", [middle, _personal(graph, filled, own)])
    below = graph.node("Softplus", [below])
    below = graph.node("Mul", [below, graph.constant("low", network.spread * network.low)])
    above = graph.node("Softplus", [above])
    above = graph.node("Mul", [above, graph.constant("high", network.spread * network.high)])
    axis = graph.whole("last_axis", [2])
    points = [graph.node("Sub", [middle, below]), middle, graph.node("Add", [middle, above])]
    columns = [graph.node("Unsqueeze", [point, axis]) for point in points]
    together = graph.node("Concat", columns, axis=2)
    graph.node("Clip", [together, "lowest", "highest"], output=CARD.outputs[0].name)
    onnx.save_model(graph.model(horizons), path)


def _personal(graph: "_Graph", filled: str, own: str) -> str:
    """The wearer's own correction [batch, horizons], mg/dL: `triton_models.glucose.personal.correction`."""
    matrix, constants = figures()
    names = [graph.constant("figures", matrix), graph.constant("figures.constant", constants)]
    seen = graph.node("Gemm", [filled, *names], transB=1)
    halves = ["own.start", "own.slope"]
    graph.split(own, halves, graph.whole("own.sizes", [PERSONAL // 2] * 2))
    axis = graph.whole("own.axis", [1])
    start, slope = (graph.node("ReduceSum", [graph.node("Mul", [seen, half]), axis], keepdims=1) for half in halves)
    along = np.array(HORIZONS_MINUTES, dtype=np.float32) / HORIZONS_MINUTES[-1]
    total = graph.node("Add", [start, graph.node("Mul", [slope, graph.constant("along", along)])])
    return graph.node("Mul", [total, graph.constant("units", UNITS)])


def _seen(graph: "_Graph") -> tuple[str, str, str, str]:
    """Newest value, what `features` gives [batch, 106], slots without gaps [batch, 36], vector [batch, 12]."""
    lowest, highest = graph.constant("lowest", np.array(LOWEST)), graph.constant("highest", np.array(HIGHEST))
    axis, zero, one = graph.whole("axis", [1]), graph.whole("zero", [0]), graph.whole("one", [1])
    minus, end = graph.whole("minus_one", [-1]), graph.whole("end", [2**31 - 1])

    def part(value: str, start: str, stop: str) -> str:
        return graph.node("Slice", [value, start, stop, axis])

    grid, own = "grid", "own"
    graph.split(CARD.inputs[0].name, [grid, own], graph.whole("parts", [SLOTS, PERSONAL]))
    flags = graph.node("IsNaN", [grid])
    first = part(grid, zero, one)
    filled = graph.node("Clip", [graph.node("Where", [flags, first, grid]), lowest, highest])
    newest, earlier = part(filled, zero, one), part(filled, one, end)
    changes = graph.scaled(graph.node("Sub", [earlier, newest]), "change_spread", CHANGE_SPREAD)
    steps = graph.scaled(graph.node("Sub", [part(filled, zero, minus), earlier]), "step_spread", STEP_SPREAD)
    either = graph.node("Or", [part(flags, zero, minus), part(flags, one, end)])
    steps = graph.node("Where", [either, graph.constant("nothing", np.array(0.0)), steps])
    level = graph.node("Sub", [newest, graph.constant("level", np.array(LEVEL))])
    level = graph.scaled(level, "level_spread", LEVEL_SPREAD)
    missing = graph.node("Cast", [part(flags, one, end)], to=TensorProto.FLOAT)
    return newest, graph.node("Concat", [level, changes, steps, missing], axis=1), filled, own


class _Graph:
    """Nodes and constants in the order in which they were asked for."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self._constants.append(
            numpy_helper.from_array(np.ascontiguousarray(value, dtype=np.float32).reshape(value.shape), name)
        )
        return name

    def whole(self, name: str, value: Sequence[int]) -> str:
        self._constants.append(numpy_helper.from_array(np.array(value, dtype=np.int64), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        output = output or f"{kind.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def scaled(self, value: str, name: str, spread: float) -> str:
        return self.node("Div", [value, self.constant(name, np.array(spread))])

    def split(self, value: str, outputs: Sequence[str], sizes: str) -> None:
        self._nodes.append(helper.make_node("Split", [value, sizes], list(outputs), axis=1))

    def linear(self, value: str, network: Network, name: str) -> str:
        weight, bias = network.layers[name]
        names = [self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
        return self.node("Gemm", [value, *names], transB=1)

    def model(self, horizons: int) -> Any:
        given, answer = CARD.inputs[0], CARD.outputs[0]
        graph = helper.make_graph(
            self._nodes,
            CARD.name,
            [helper.make_tensor_value_info(given.name, TensorProto.FLOAT, ["batch", *given.shape])],
            [helper.make_tensor_value_info(answer.name, TensorProto.FLOAT, ["batch", horizons, 3])],
            self._constants,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="clinstream", opset_imports=opsets, ir_version=IR_VERSION)
        onnx.checker.check_model(model, full_check=True)
        return model
