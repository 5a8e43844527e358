"""The last step of `fracture`: a weighted sum of what its network summarises, fitted when that has learned; torch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from triton_models.figures import rank_auroc
from triton_models.fracture.collection import Division, Picture, grey
from triton_models.fracture.network import BoneNet
from triton_models.fracture.preprocess import prepare

STRENGTHS = (3e-4, 1e-3, 3e-3, 1e-2)


class Readout(nn.Module):
    """The image's logit as a weighted sum of the network's summary, added row by row: batches change no bit."""

    def __init__(self, weight: Tensor, bias: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight[None])
        self.bias = bias

    def forward(self, summary: Tensor) -> Tensor:
        return (summary * self.weight).sum(dim=1) + self.bias


def fit_readout(network: BoneNet, division: Division) -> tuple[Readout, dict[str, float]]:
    """The readout of the unchanged training images whose strength did best on validation, and how well each did."""
    seen, judged = (summaries(network, part) for part in (division.train, division.validation))
    truth, asked = (np.array([picture.fractured for picture in part]) for part in (division.train, division.validation))
    centre, scale = seen.mean(axis=0), seen.std(axis=0) + 1e-6
    found: dict[str, float] = {}
    best, chosen = -1.0, None
    for strength in STRENGTHS:
        fitted = LogisticRegression(C=strength, class_weight="balanced", max_iter=500)
        fitted.fit((seen - centre) / scale, truth)
        reached = rank_auroc(asked, fitted.decision_function((judged - centre) / scale))
        found[f"validation auroc, readout {strength:g}"] = reached
        if reached > best:
            best, chosen = reached, fitted
    assert chosen is not None
    weight = chosen.coef_[0] / scale
    bias = float(chosen.intercept_[0] - weight @ centre)
    return Readout(torch.from_numpy(weight).float(), bias), found


def summaries(network: BoneNet, pictures: Sequence[Picture]) -> npt.NDArray[np.float64]:
    """The network's summary of each picture as served."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(pictures), 8):
            pixels = np.stack([prepare(grey(picture)) for picture in pictures[start : start + 8]])
            found.append(network.summary(torch.from_numpy(pixels))[0].numpy())
    return np.concatenate(found).astype(np.float64)
