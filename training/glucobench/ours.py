"""Our forecaster: a residual network pretrained on open sets of readings and tuned for two passes on a file; torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.glucobench import features, networks
from training.glucobench.baselines import Linear
from training.glucobench.protocol import AHEAD, Windows
from training.glucobench.sketch import Hashes, alike

Forecast = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
WEIGHTS = Path(__file__).parent / "weights"
WIDTH, BLOCKS = 128, 2
TUNE_PASSES, TUNE_RATE, TUNE_WINDOWS = 2, 1.5e-3, 60_000
# What the linear model says counts a fifth: it is the steadier of the two on the wildest hours.
LINEAR_SHARE, LINEAR_LAGS = 0.2, 12
# Without weights that may be used the same network learns from the file alone.
ALONE_PASSES, ALONE_RATE = 6, 2e-3
HIDDEN_SHARE = 0.5


class Residual(nn.Module):
    """Features to changes in spreads: ReLU blocks beside a straight linear path."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, WIDTH)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)) for _ in range(BLOCKS)
        )
        self.last = nn.Linear(WIDTH, AHEAD)
        self.straight = nn.Linear(inputs, AHEAD)

    def forward(self, seen: Tensor) -> Tensor:
        """Changes [n, 12] from features."""
        value = torch.relu(self.first(seen))
        for block in self.blocks:
            value = torch.relu(value + block(value))
        change: Tensor = self.last(value) + self.straight(seen)
        return change


def root(said: Tensor, real: Tensor) -> Tensor:
    """Mean over the windows of the root of their squared error: neither calm nor wild windows decide alone."""
    return torch.sqrt(((said - real) ** 2).mean(dim=1) + 1e-3).mean()


@dataclass(frozen=True, slots=True)
class Pretrained:
    """Weights with the sets that they have seen; `networks` is empty where none may be used."""

    networks: Sequence[Residual]
    trained_on: Sequence[str]
    left_out: Sequence[str]


def choose(file: Hashes, folder: Path = WEIGHTS) -> Pretrained:
    """The committed weights that have not seen the readings of this sketch, most sets first."""
    found: list[tuple[int, Path, dict[str, Any]]] = []
    with np.load(folder / "sketches.npz") as kept:
        known = {name: kept[name] for name in kept.files}
    seen = sorted(name for name, hashes in known.items() if alike(file, hashes))
    for path in sorted(folder.glob("from_*.npz")):
        with np.load(path) as saved:
            arrays = {name: saved[name] for name in saved.files}
        trained_on = [str(name) for name in arrays.pop("trained_on")]
        if not set(trained_on) & set(seen):
            found.append((len(trained_on), path, {"trained_on": trained_on, **arrays}))
    if not found:
        return Pretrained([], [], seen)
    _, _, best = max(found, key=lambda each: each[0])
    trained_on = best.pop("trained_on")
    return Pretrained([_network(best)], trained_on, seen)


def save(path: Path, network: Residual, trained_on: Sequence[str]) -> None:
    """Writes weights in half precision, with the names of the sets that they have seen."""
    arrays: dict[str, Any] = {name: value.numpy().astype(np.float16) for name, value in network.state_dict().items()}
    np.savez_compressed(path, trained_on=np.array(sorted(trained_on)), **arrays)


class Ours:
    """The pretrained network tuned on the training part; what a wearer's own figures say is hidden half of the time."""

    def __init__(self, begun: Pretrained, train: Windows, seed: int) -> None:
        """Tunes on `train`, or learns from it alone where nothing may be used."""
        self._known, self._linear = features.wearers(train), Linear(LINEAR_LAGS, train)
        some = train.pick(np.random.default_rng(seed).permutation(len(train))[:TUNE_WINDOWS])
        seen = features.features(some, self._known)
        hidden = np.random.default_rng(seed + 1).random(len(seen)) < HIDDEN_SHARE
        seen[hidden, -features.OWN :] = 0.0
        change = some.truth - some.rows[:, -1:]
        torch.manual_seed(seed)
        networks_begun = begun.networks or [Residual(seen.shape[1])]
        passes, rate = (TUNE_PASSES, TUNE_RATE) if begun.networks else (ALONE_PASSES, ALONE_RATE)
        self._networks = [
            networks.trained(each, seen, change, root, passes=passes, rate=rate, seed=seed) for each in networks_begun
        ]

    def __call__(self, windows: Windows) -> Forecast:
        """mg/dL [windows, 12]."""
        seen = features.features(windows, self._known)
        change = np.mean([networks.answered(each, seen) for each in self._networks], axis=0)
        own = windows.rows[:, -1:] + change
        found: Forecast = (1 - LINEAR_SHARE) * own + LINEAR_SHARE * self._linear(windows)
        return found


def _network(arrays: dict[str, Any]) -> Residual:
    network = Residual(arrays["first.weight"].shape[1])
    network.load_state_dict({name: torch.from_numpy(value.astype(np.float32)) for name, value in arrays.items()})
    return network
