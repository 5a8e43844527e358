"""The convolutional network of both otoscope models and its way to ONNX; imports torch, so only training comes here."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from triton_models._otoscopy.view import disc
from triton_models._vision import served as files
from triton_models._vision.trunk import draw_weights, residual_trunk


class EarNet(nn.Module):
    """A residual network of 18 layers, `width` channels wide at its first stage, on three colour channels.

    In: uint8 or float [batch, 3, side, side], 0-255. Out: logits [batch, answers]. Brightness and contrast of the
    lit disc are normalised inside, one number for all channels, so that colour stays. It classifies every place and
    weighs the places by an attention map of its own before it adds them up: that keeps a row's result independent of
    the batch that it travels in, bit by bit.
    """

    def __init__(self, answers: int, width: int, side: int) -> None:
        super().__init__()
        self.trunk = residual_trunk(3, width)
        draw_weights(self)
        self.drop = nn.Dropout2d(0.2)
        self.head = nn.Conv2d(width << 3, answers, 1)
        self.attention = nn.Conv2d(width << 3, 1, 1)
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


def export(served: nn.Module, side: int, answers: int, path: Path) -> None:
    """Writes ONNX of `pixels` to `probability` [batch, answers]."""
    files.export(served, (3, side, side), {"probability": (answers,)}, path)
