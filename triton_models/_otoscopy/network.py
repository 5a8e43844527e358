"""The convolutional network of both otoscope models and its way to ONNX; imports torch, so only training comes here."""

import pickle
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from schemas.errors import UserError
from triton_models._otoscopy.view import disc
from triton_models.half import halve_weights


class EarNet(nn.Module):
    """A residual network of 18 layers, `width` channels wide at its first stage, on three colour channels.

    In: uint8 or float [batch, 3, side, side], 0-255. Out: logits [batch, answers]. Brightness and contrast of the
    lit disc are normalised inside, one number for all channels, so that colour stays. It classifies every place and
    weighs the places by an attention map of its own before it adds them up: that keeps a row's result independent of
    the batch that it travels in, bit by bit.
    """

    def __init__(self, answers: int, width: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        ]
        channels = width
        for stage in range(4):
            for block in range(2):
                wider, stride = width << stage, 2 if stage and not block else 1
                shortcut = None
                if stride != 1 or wider != channels:
                    shortcut = nn.Sequential(
                        nn.AvgPool2d(stride, ceil_mode=True) if stride != 1 else nn.Identity(),
                        nn.Conv2d(channels, wider, 1, bias=False),
                        nn.BatchNorm2d(wider),
                    )
                layers.append(BasicBlock(channels, wider, stride, shortcut))
                channels = wider
        self.trunk = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.drop = nn.Dropout2d(0.2)
        self.head = nn.Conv2d(channels, answers, 1)
        self.attention = nn.Conv2d(channels, 1, 1)
        nn.init.zeros_(self.attention.weight)
        self.register_buffer("lit", torch.from_numpy(disc(side)).float()[None, None], persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        lit: Tensor = self.lit  # type: ignore[assignment]
        colour, share = pixels.float(), lit.mean()
        centre = (colour * lit).mean(dim=(1, 2, 3), keepdim=True) / share
        spread = ((colour - centre).square() * lit).mean(dim=(1, 2, 3), keepdim=True).div(share).sqrt()
        seen = self.trunk((colour - centre) / (spread + 8.0) * lit)
        weight = self.attention(seen).flatten(2).softmax(dim=2)
        logits: Tensor = (self.head(self.drop(seen)).flatten(2) * weight).sum(dim=2)
        return logits


class Ensemble(nn.Module):
    """The mean of several networks' logits: each saw other ears, so what they agree on is not one ear's look."""

    def __init__(self, members: Sequence[EarNet]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, pixels: Tensor) -> Tensor:
        return torch.stack([member(pixels) for member in self.members]).mean(dim=0)


def start_from(network: nn.Module, init: Path) -> None:
    """Loads weights whose names and shapes fit; a `UserError` if fewer than half of the network's do."""
    try:
        given = torch.load(init, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise UserError(f"{init} is not a file of PyTorch weights: {error}") from error
    own = network.state_dict()
    usable = {name: value for name, value in given.items() if name in own and value.shape == own[name].shape}
    if 2 * len(usable) < len(own):
        raise UserError(f"{init} holds {len(usable)} of the {len(own)} tensors of this network")
    network.load_state_dict(usable, strict=False)


def export(served: nn.Module, side: int, answers: int, path: Path) -> None:
    """Writes ONNX (opset 17, any batch) of `pixels` to `probability` [batch, answers]; weights stored as float16."""
    served.eval()
    torch.onnx.export(
        served,
        (torch.zeros((2, 3, side, side), dtype=torch.uint8),),
        str(path),
        input_names=["pixels"],
        output_names=["probability"],
        opset_version=17,
        dynamic_axes={"pixels": {0: "batch"}, "probability": {0: "batch"}},
        dynamo=False,
    )
    model = onnx.load(str(path))
    halve_weights(model)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = answers
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
