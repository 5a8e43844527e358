"""One network of `fracture` for each fold of the development groups, and what they say of images unseen; torch.

Each network learns from the other folds. Only what it says of its own fold chooses how the networks are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn.model_selection import StratifiedGroupKFold

from triton_models._vision.state import Progress
from triton_models.figures import rank_auroc
from triton_models.fracture.collection import Picture
from triton_models.fracture.learning import Recipe, learn
from triton_models.fracture.network import BoneNet
from triton_models.fracture.readout import STRENGTHS, Floats, Readout, Weighted, fit_channels, summaries

OWN_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How much of the answer is the network's own logit; the rest is the readout of its channels."""


@dataclass(frozen=True, slots=True)
class Fold:
    """A network, the pictures that it has not learned from, and what it sees in them."""

    network: BoneNet
    unseen: Sequence[Picture]
    truth: npt.NDArray[np.bool_]
    seen: Floats
    channels: dict[float, Weighted]
    """The readout of its channels by strength, fitted on the pictures that it has learned from."""


def shares(pictures: Sequence[Picture], folds: int, seed: int) -> list[tuple[list[Picture], list[Picture]]]:
    """(known, unseen) pictures of each fold: whole groups, about as many fractures in each."""
    fractured, groups = [picture.fractured for picture in pictures], [picture.group for picture in pictures]
    splits = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(fractured, fractured, groups)
    return [([pictures[i] for i in known], [pictures[i] for i in unseen]) for known, unseen in splits]


def fit_fold(
    number: int,
    pictures: Sequence[Picture],
    recipe: Recipe,
    out_dir: Path,
    *,
    seed: int,
    init: Path | None,
    say: Progress,
) -> tuple[Fold, list[dict[str, float]]]:
    """The `number`th network with its readouts, and its history."""
    known, unseen = shares(pictures, recipe.folds, seed)[number]
    say(f"fold {number + 1} of {recipe.folds}: {len(known)} images to learn from, {len(unseen)} unseen")
    where = out_dir / f"fold-{number}"
    network, history = learn(known, unseen, recipe, where, seed=seed + number, init=init, say=say)
    seen, truth = summaries(network, known), np.array([picture.fractured for picture in known])
    channels = {strength: fit_channels(seen, truth, strength) for strength in STRENGTHS}
    fractured = np.array([picture.fractured for picture in unseen])
    return Fold(network, unseen, fractured, summaries(network, unseen), channels), history


def choose_readouts(folds: Sequence[Fold]) -> tuple[list[Readout], dict[str, float]]:
    """One strength and one share of the own logit for all folds, best on all unseen pictures; how well each did."""
    truth = np.concatenate([fold.truth for fold in folds])
    found: dict[str, float] = {}
    best, chosen = -1.0, folds[0].channels
    for strength in STRENGTHS:
        for share in OWN_SHARES:
            weights = _mixed(folds, strength, share)
            pairs = zip(folds, weights, strict=True)
            said = np.concatenate([fold.seen @ weight + bias for fold, (weight, bias) in pairs])
            reached = rank_auroc(truth, said)
            found[f"unseen auroc, readout {strength:g}, own share {share:g}"] = reached
            if reached > best:
                best, chosen = reached, dict(enumerate(weights))
    readouts = [Readout(torch.from_numpy(weight).float(), bias) for weight, bias in chosen.values()]
    return readouts, found


def _mixed(folds: Sequence[Fold], strength: float, share: float) -> list[Weighted]:
    """The weights of each fold's summary when both parts of the answer spread alike over all unseen pictures."""
    read = [(fold.seen @ weight + bias, weight, bias) for fold in folds for weight, bias in [fold.channels[strength]]]
    spread = float(np.std(np.concatenate([said for said, _, _ in read]))) + 1e-6
    own = float(np.std(np.concatenate([fold.seen[:, 0] for fold in folds]))) + 1e-6
    found = []
    for _, weight, bias in read:
        mixed = weight * (1 - share) / spread
        mixed[0] = share / own
        found.append((mixed, bias * (1 - share) / spread))
    return found
