"""Stores the weights of an ONNX model in half the bytes; the arithmetic stays float32."""

from typing import Any

import numpy as np
import onnx

SMALLEST = 1024


def halve_weights(model: Any) -> int:
    """Keeps float32 initialisers of 1,024 elements or more as float16 behind a Cast, in place; returns how many.

    Runtimes fold the Casts when they load the file, so the smaller file costs no time per image. Weights beyond
    float16 (65,504) raise ValueError.
    """
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALLEST:
            continue
        if not np.abs(values).max() <= np.finfo(np.float16).max:
            raise ValueError(f"{tensor.name} does not fit into float16")
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), name + ".half"))
        casts.append(onnx.helper.make_node("Cast", [name + ".half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return len(casts)
