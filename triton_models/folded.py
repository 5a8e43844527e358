"""Weights out of a served ONNX back into a PyTorch trunk; imports torch, so only training comes here."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from schemas.errors import UserError


def load_folded(trunk: nn.Module, served: Path, run: Callable[[], Any]) -> int:
    """Fills the trunk's convolutions and normalisations from the first ones of `served`; returns how many tensors.

    An ONNX holds normalisation folded into its convolutions. `run` sends a batch of images through the trunk, which
    sets every normalisation to what leaves that batch as it is, so that training can go on from there. Raises
    `UserError` where the file is no ONNX or of another network.
    """
    try:
        graph = onnx.load(str(served)).graph
    except Exception as error:  # what protobuf raises has no common class
        raise UserError(f"--init {served.name} is not an ONNX file ({type(error).__name__})") from error
    stored = {tensor.name.removesuffix(".half"): tensor for tensor in graph.initializer}
    folded = [[stored[name] for name in node.input[1:]] for node in graph.node if node.op_type == "Conv"]
    layers = [module for module in trunk.modules() if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
    pairs = list(zip(layers[::2], layers[1::2], strict=True))
    if len(folded) < len(pairs):
        raise UserError(f"--init {served.name} has {len(folded)} convolutions, this network's trunk {len(pairs)}")
    hooks = []
    for (convolution, norm), tensors in zip(pairs, folded, strict=False):
        values = [torch.from_numpy(numpy_helper.to_array(tensor).astype(np.float32)) for tensor in tensors]
        if len(values) != 2 or values[0].shape != convolution.weight.shape:
            raise UserError(f"--init {served.name} is of another network: a convolution has another shape")
        convolution.weight.data.copy_(values[0])
        hooks.append(norm.register_forward_pre_hook(_settle(values[1])))
    trunk.eval()
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    return 2 * len(pairs)


def _settle(bias: Tensor) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """Sets a normalisation to what leaves the values that it sees as they are, plus the folded bias."""

    def settle(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, variance = given[0].mean(dim=(0, 2, 3)), given[0].var(dim=(0, 2, 3), unbiased=False)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.data.copy_((variance + norm.eps).sqrt())
        norm.bias.data.copy_(mean + bias)

    return settle
