"""The residual trunk of the image networks and their starting weights; imports torch, so only training comes here."""

import pickle
from pathlib import Path

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from schemas.errors import UserError


def residual_trunk(colours: int, width: int) -> nn.Sequential:
    """The first part of a residual network of 18 layers, without its head: images become a map of places.

    In: float [batch, colours, rows, columns]. Out: [batch, width * 8, rows / 32, columns / 32]. `width` channels at
    the first stage double at each of three more. Names and shapes are the same in every network that has this trunk,
    so that the weights of one start another.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(colours, width, 7, stride=2, padding=3, bias=False),
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
    return nn.Sequential(*layers)


def draw_weights(network: nn.Module) -> None:
    """Draws the weights of every convolution that the network has so far, in its order (He 2015)."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def start_from(network: nn.Module, init: Path, whole: nn.Module | None = None) -> int:
    """Loads weights whose names and shapes fit and returns how many tensors did.

    `init` is a state dictionary of PyTorch. Raises `UserError` where it is none, and where fewer fit than half of the
    tensors of `whole`, which is the network unless a part of it is named.
    """
    try:
        given = torch.load(init, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise UserError(f"--init {init.name} is not a file of PyTorch weights ({type(error).__name__})") from error
    own = network.state_dict()
    fitting = {name: value for name, value in given.items() if name in own and value.shape == own[name].shape}
    if len(fitting) * 2 < len((whole or network).state_dict()):
        raise UserError(f"--init {init.name} holds {len(fitting)} of the {len(own)} tensors of this network")
    network.load_state_dict(fitting, strict=False)
    return len(fitting)
