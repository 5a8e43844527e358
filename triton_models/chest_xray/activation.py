"""A class activation map as a second output of an exported `chest_xray` ONNX; works on the graph, no torch.

B. Zhou, A. Khosla, A. Lapedriza, A. Oliva, A. Torralba, "Learning Deep Features for Discriminative Localization",
CVPR 2016: where a network ends in global average pooling and a linear layer, that layer's weights times the last
feature maps say what each place adds to the answer. This network's linear layer is applied to every place before they
are averaged, so the map is in the graph already and only has to come out of it; the answer stays as it is, bit by bit.

`python -m triton_models.chest_xray.activation FILE` adds it to a file that lacks it.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from triton_models.chest_xray.preprocess import SIDE, STRIDE

NAME = "places"


def add_map(path: Path, side: int) -> bool:
    """Adds the output `places` [batch, side, side] to the file; False where it has one already.

    An element is the log odds of that place, calibrated by the steps that calibrate the answer's: their mean over all
    places is the log odds of the probability. Raises ValueError for another graph.
    """
    model = onnx.load(str(path))
    graph = model.graph
    if any(output.name == NAME for output in graph.output):
        return False
    last, steps = _way_to_probability(graph)
    for step in steps:
        copy = helper.make_node(step.op_type, [last, *step.input[1:]], [f"{NAME}/{step.op_type}"])
        copy.attribute.extend(step.attribute)
        graph.node.append(copy)
        last = copy.output[0]
    graph.initializer.append(numpy_helper.from_array(np.array([1], dtype=np.int64), f"{NAME}/axis"))
    graph.node.append(helper.make_node("Squeeze", [last, f"{NAME}/axis"], [NAME]))
    graph.output.append(helper.make_tensor_value_info(NAME, onnx.TensorProto.FLOAT, ["batch", side, side]))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return True


def _way_to_probability(graph: Any) -> tuple[str, list[Any]]:
    """The name of the places' logits, and the nodes that lead from their average to the answer's log odds."""
    makers = {name: node for node in graph.node for name in node.output}
    sigmoid = makers.get(makers[graph.output[0].name].input[-1])
    steps: list[Any] = []
    node = makers.get(sigmoid.input[0]) if sigmoid is not None and sigmoid.op_type == "Sigmoid" else None
    while node is not None and node.op_type != "ReduceMean":
        steps.insert(0, node)
        node = makers.get(node.input[0]) if node.input else None
    if node is None or node.input[0] not in makers or makers[node.input[0]].op_type != "Conv":
        raise ValueError("no layer that judges every place before they are averaged leads to the probability")
    return node.input[0], steps


if __name__ == "__main__":
    print("added" if add_map(Path(sys.argv[1]), SIDE // STRIDE) else "it has one already")
