"""Families of networks to hold ours against, one grey channel each; imports torch, so only training comes here.

Architectures are torchvision's, with weights of chance: none that are trained elsewhere may be had or shipped.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torchvision import models

MOMENTUM = 0.1
"""Of normalisations: torchvision's MobileNets have 0.01, which after a hundred steps still remembers the start."""


class Grey(nn.Module):
    """A network of colour images on one grey channel, its logits [batch, 1].

    It normalises each image itself, as ours do, so that families differ in what comes after that.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = MOMENTUM

    def forward(self, pixels: Tensor) -> Tensor:
        grey = pixels.float()
        centre = grey.mean(dim=(2, 3), keepdim=True)
        spread = (grey - centre).square().mean(dim=(2, 3), keepdim=True).sqrt()
        answer: Tensor = self.network(((grey - centre) / (spread + 4.0)).expand(-1, 3, -1, -1))
        return answer


@dataclass(frozen=True, slots=True)
class Family:
    """How to draw a network of a family, and the peak of its learning rate."""

    build: Callable[[], nn.Module]
    peak_rate: float = 1.5e-3
    square: bool = False
    """Whether it takes no images but squares of the side that it was built for."""


def families(side: int, patch: int) -> Mapping[str, Family]:
    """The families by name; `side` is that of the transformer's square, a multiple of that of its patches."""
    vit = ("ViT, 12 layers of 192", side, patch, 12, 3, 192, 768)
    return {
        "MobileNetV3-small": Family(lambda: Grey(models.mobilenet_v3_small(num_classes=1))),
        "MobileNetV3-large": Family(lambda: Grey(models.mobilenet_v3_large(num_classes=1))),
        vit[0]: Family(lambda: Grey(models.VisionTransformer(*vit[1:], num_classes=1)), peak_rate=5e-4, square=True),
        "InceptionV3": Family(
            lambda: Grey(models.inception_v3(num_classes=1, aux_logits=False, init_weights=False)),
        ),
        "DenseNet-121": Family(lambda: Grey(models.densenet121(num_classes=1))),
    }
