"""The usual networks, trained on the file alone: an LSTM over the steps and a transformer over hours; torch."""

import copy
import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from training.glucobench.protocol import AHEAD, Windows

Forecast = npt.NDArray[np.float64]
Rows = npt.NDArray[np.float32]
Loss = Callable[[Tensor, Tensor], Tensor]
Net = TypeVar("Net", bound=nn.Module)
# The typical change by step, mg/dL: networks answer in it.
SPREAD = np.array([7, 12, 17, 22, 26, 30, 33, 36, 39, 42, 44, 46], dtype=np.float32)
LEVEL, LEVEL_SPREAD, CHANGE_SPREAD = 150.0, 60.0, 40.0
PATCH, WIDTH, LSTM_LAGS = 12, 32, 48


class Recurrent(nn.Module):
    """An LSTM over the last four hours, oldest first: level and change from the newest."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.LSTM(2, WIDTH, batch_first=True)
        self.last = nn.Linear(WIDTH, AHEAD)

    def forward(self, rows: Tensor) -> Tensor:
        """Changes in spreads from rows [n, steps]."""
        recent = rows[:, -LSTM_LAGS:]
        newest = recent[:, -1:]
        seen = torch.stack([(recent - LEVEL) / LEVEL_SPREAD, (recent - newest) / CHANGE_SPREAD], dim=2)
        states, _ = self.cells(seen)
        change: Tensor = self.last(states[:, -1])
        return change


class Attention(nn.Module):
    """A transformer of two layers over patches of an hour, the newest last."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.patches = max(1, steps // PATCH)
        size = min(PATCH, steps)
        self.inward = nn.Linear(size + 1, WIDTH)
        self.place = nn.Parameter(torch.zeros(self.patches, WIDTH))
        layer = nn.TransformerEncoderLayer(WIDTH, 4, 2 * WIDTH, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.last = nn.Linear(WIDTH, AHEAD)
        self.size = size

    def forward(self, rows: Tensor) -> Tensor:
        """Changes in spreads from rows [n, steps]."""
        newest = rows[:, -1:]
        recent = (rows[:, -self.patches * self.size :] - newest).reshape(-1, self.patches, self.size)
        level = ((newest - LEVEL) / LEVEL_SPREAD).unsqueeze(1).expand(-1, self.patches, -1)
        states = self.layers(self.inward(torch.cat([recent / CHANGE_SPREAD, level], dim=2)) + self.place)
        change: Tensor = self.last(states[:, -1])
        return change


def squared(said: Tensor, real: Tensor) -> Tensor:
    """Mean squared error, in spreads."""
    return ((said - real) ** 2).mean()


def trained(
    network: Net,
    seen: Rows,
    change: Rows,
    loss: Loss,
    *,
    passes: float,
    rate: float,
    seed: int,
    batch: int = 256,
    memory: float = 0.998,
) -> Net:
    """A running average of the weights over `passes` of AdamW through the rows, the rate rising then falling."""
    rng, inputs = np.random.default_rng(seed), torch.from_numpy(seen)
    truth = torch.from_numpy((change / SPREAD).astype(np.float32))
    network, batch = copy.deepcopy(network), min(batch, len(seen))
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    kept, steps = copy.deepcopy(network), max(1, int(passes * len(seen) / batch))
    order = np.concatenate([rng.permutation(len(seen)) for _ in range(math.ceil(passes))])
    for step in range(steps):
        places = torch.from_numpy(order[step * batch : (step + 1) * batch])
        optimizer.param_groups[0]["lr"] = rate * _share(step, steps)
        error = loss(network(inputs[places]), truth[places])
        optimizer.zero_grad()
        torch.autograd.backward(error)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            for mean, now in zip(kept.parameters(), network.parameters(), strict=True):
                mean.lerp_(now, 1 - min(memory, (step + 1) / (step + 10)))
    return kept.eval()


def answered(network: nn.Module, seen: Rows) -> Forecast:
    """Changes from the newest value, mg/dL [rows, 12]."""
    with torch.no_grad():
        parts = np.array_split(seen, max(1, len(seen) // 4096))
        changes = [network(torch.from_numpy(part)).numpy() for part in parts]
    found: Forecast = np.concatenate(changes).astype(np.float64) * SPREAD
    return found


class Usual:
    """A network trained on the rows of the file alone."""

    def __init__(self, network: nn.Module, train: Windows, seed: int, *, windows: int, passes: float) -> None:
        some = train.pick(np.random.default_rng(seed).permutation(len(train))[:windows])
        change = some.truth - some.rows[:, -1:]
        self._network = trained(network, filled(some.rows), change, squared, passes=passes, rate=2e-3, seed=seed)

    def __call__(self, windows: Windows) -> Forecast:
        """mg/dL [windows, 12]."""
        return windows.rows[:, -1:] + answered(self._network, filled(windows.rows))


def filled(rows: Rows) -> Rows:
    """Rows whose missing oldest values repeat the oldest one that is there."""
    first = np.argmax(np.isfinite(rows), axis=1)
    oldest = rows[np.arange(len(rows)), first][:, None]
    whole: Rows = np.where(np.isnan(rows), oldest, rows).astype(np.float32)
    return whole


def _share(step: int, steps: int) -> float:
    """Of the full rate: up over the first tenth, then down along half a cosine."""
    warm = max(1, steps // 10)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) + 1e-3
