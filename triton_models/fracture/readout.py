"""The last step of `fracture`: a weighted sum of what a network summarises, fitted when that has learned; torch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from triton_models.fracture.collection import Picture, grey
from triton_models.fracture.network import BoneNet
from triton_models.fracture.preprocess import prepare

STRENGTHS = (3e-4, 1e-3, 3e-3, 1e-2)
Floats = npt.NDArray[np.float64]
Weighted = tuple[Floats, float]
"""Weights of a summary, and what is added to their sum."""


class Readout(nn.Module):
    """The image's logit as a weighted sum of the network's summary, added row by row: batches change no bit."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight[None])
        self.bias = bias

    def forward(self, summary: Tensor) -> Tensor:
        weighted = summary * self.weight
        # The logit apart: rows of a number of channels that is no multiple of 16 are summed differently in a batch.
        return weighted[:, 0] + weighted[:, 1:].sum(dim=1) + self.bias


def fit_channels(seen: Floats, truth: npt.NDArray[np.bool_], strength: float) -> Weighted:
    """A logistic regression on the pooled channels alone: the network's own logit has learned the truth by heart."""
    channels = seen[:, 1:]
    centre, scale = channels.mean(axis=0), channels.std(axis=0) + 1e-6
    fitted = LogisticRegression(C=strength, class_weight="balanced", max_iter=500)
    fitted.fit((channels - centre) / scale, truth)
    weight = fitted.coef_[0] / scale
    return np.concatenate([[0.0], weight]), float(fitted.intercept_[0] - weight @ centre)


def summaries(network: BoneNet, pictures: Sequence[Picture]) -> Floats:
    """The network's summary of each picture as served."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(pictures), 8):
            pixels = np.stack([prepare(grey(picture)) for picture in pictures[start : start + 8]])
            found.append(network.summary(torch.from_numpy(pixels))[0].numpy())
    return np.concatenate(found).astype(np.float64)
