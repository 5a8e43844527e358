"""A trained image network's way to ONNX, and the answer of a calibrated one that knows two classes; imports torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from triton_models.half import halve_weights


class Served(nn.Module):
    """A network with its calibration, as served: uint8 [batch, colours, side, side] to [batch, 2] probabilities.

    Probabilities are (well, ill) = 1 - p, p with p = sigmoid(logit / temperature + bias), where the logit is the first
    of the network's.
    """

    def __init__(self, network: nn.Module, temperature: float, bias: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature
        self.bias = bias

    def forward(self, pixels: Tensor) -> Tensor:
        ill = torch.sigmoid(self.network(pixels)[:, :1] / self.temperature + self.bias)
        return torch.cat([1.0 - ill, ill], dim=1)


def export(served: nn.Module, image: Sequence[int], outputs: Mapping[str, Sequence[int]], path: Path) -> None:
    """Writes ONNX (opset 17, any batch) whose weights are stored as float16 and computed as float32.

    `image` is (colours, rows, columns) of the uint8 input `pixels`; `outputs` names what `served` returns, each with
    its sizes after the batch. Runtimes fold the casts when they load the file, so the saved half costs no time. Batch
    normalisation is folded into the convolutions first.
    """
    served.eval()
    names = ["pixels", *outputs]
    torch.onnx.export(
        served,
        (torch.zeros((2, *image), dtype=torch.uint8),),
        str(path),
        input_names=names[:1],
        output_names=names[1:],
        opset_version=17,
        dynamic_axes={name: {0: "batch"} for name in names},
        dynamo=False,
    )
    model = onnx.load(str(path))
    halve_weights(model)
    for output, sizes in zip(model.graph.output, outputs.values(), strict=True):
        for dimension, size in zip(output.type.tensor_type.shape.dim[1:], sizes, strict=True):
            dimension.dim_value = size
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
