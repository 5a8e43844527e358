"""The convolutional network of `fracture` and its starting weights; imports torch, so only training comes here."""

from pathlib import Path

import torch
from torch import Tensor, nn

from triton_models._vision import trunk
from triton_models._vision.trunk import draw_weights, residual_trunk
from triton_models.folded import load_folded

SHARPNESS = 2.0
"""How near the pooling of places comes to taking only the most suspicious one."""


class BoneNet(nn.Module):
    """A residual network of 18 layers with a pyramid on top that judges every place of 8 x 8 pixels.

    In: uint8 or float [batch, 1, rows, columns], 0-255, sides divisible by 32. Out: logits of the image [batch], and
    of its places [batch, rows / 8, columns / 8]. The trunk has the names and shapes of `chest_xray`'s, so that its
    weights fit. While it learns, the image's logit is that of its most suspicious places plus what the whole adds;
    served is a `Readout` of its `summary`, fitted when the network has learned.
    """

    def __init__(self, width: int, pyramid: int) -> None:
        super().__init__()
        self.trunk = residual_trunk(1, width)
        self.sides = nn.ModuleList(nn.Conv2d(width << stage, pyramid, 1) for stage in (1, 2, 3))
        self.blend = nn.Sequential(
            nn.Conv2d(pyramid, pyramid, 3, padding=1, bias=False), nn.BatchNorm2d(pyramid), nn.ReLU(inplace=True)
        )
        draw_weights(self)
        self.drop = nn.Dropout2d(0.1)
        self.place = nn.Conv2d(pyramid, 1, 1)
        nn.init.normal_(self.place.weight, std=0.01)
        nn.init.constant_(self.place.bias, -4.0)  # type: ignore[arg-type]
        self.whole = nn.Conv2d(width << 3, 1, 1)
        nn.init.zeros_(self.whole.weight)
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0]))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        _, places, whole = self._look(pixels)
        return self._answer(places, whole), places

    def summary(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """What `Readout` judges, and the places.

        The image's own logit, then mean, maximum and deviation of each channel of three stages.
        """
        kept, places, whole = self._look(pixels)
        pooled = [of for seen in kept for of in (seen.mean((2, 3)), seen.amax((2, 3)), seen.std((2, 3)))]
        return torch.cat([self._answer(places, whole)[:, None], *pooled], dim=1), places

    def _answer(self, places: Tensor, whole: Tensor) -> Tensor:
        worst = torch.logsumexp(places.flatten(1) * SHARPNESS, dim=1) / SHARPNESS
        return self.scale[0] * worst + self.scale[1] + whole

    def _look(self, pixels: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        grey = pixels.float()
        centre = grey.mean(dim=(2, 3), keepdim=True)
        spread = (grey - centre).square().mean(dim=(2, 3), keepdim=True).sqrt()
        seen = (grey - centre) / (spread + 4.0)
        kept = []
        for number, layer in enumerate(self.trunk):
            seen = layer(seen)
            if number in (7, 9, 11):
                kept.append(seen)
        top = self.sides[2](kept[2])
        for side, below in ((self.sides[1], kept[1]), (self.sides[0], kept[0])):
            top = side(below) + nn.functional.interpolate(top, scale_factor=2.0, mode="nearest")
        places = self.place(self.drop(self.blend(top))).float().squeeze(1)
        return kept, places, self.whole(self.drop(kept[2])).float().mean(dim=(1, 2, 3))


def start_from(network: BoneNet, init: Path, sample: Tensor) -> int:
    """Loads domain weights that fit and returns how many tensors did; a `UserError` if hardly any do.

    `init` is a state dictionary of PyTorch or a served ONNX of the same trunk (`chest_xray.onnx`). An ONNX holds
    normalisation folded into its convolutions; `sample` (a batch of images) then restores the scale of every layer.
    """
    if init.suffix == ".onnx":
        return load_folded(network.trunk, init, lambda: network.eval()(sample))
    return trunk.start_from(network, init, network.trunk)
