"""How the model was chosen: baselines, boosted trees, a recurrent network and changes of the recipe; writes a table.

`python -m triton_models.glucose.experiments DATA OUT.md` runs all of them on one core, judged on validation people.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import Tensor, nn

from triton_models import forecasts, linear
from triton_models.glucose import collection, graph
from triton_models.glucose.card import HORIZONS_MINUTES
from triton_models.glucose.collection import Windows
from triton_models.glucose.preprocess import SLOTS
from triton_models.glucose.train import SEED, Recipe, build, fit, spreads

SHOWN = (30, 60, 120)
Rows = npt.NDArray[np.float32]
Forecast = npt.NDArray[Any]

PLAIN = Recipe()
CHANGES: dict[str, Recipe] = {
    "residual network as served": PLAIN,
    "any window as likely": replace(PLAIN, evenness=0.0),
    "64 wide, one block": replace(PLAIN, width=64, blocks=1),
    "256 wide": replace(PLAIN, width=256),
    "without the average of weights": replace(PLAIN, memory=0.0),
    "30 epochs": replace(PLAIN, epochs=30),
}


class Recurrent(nn.Module):
    """An LSTM over the 36 slots, oldest first, with the heads of the served network."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.cells = nn.LSTM(4, width, batch_first=True)
        self.last = nn.Linear(width, 3 * len(HORIZONS_MINUTES))

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From the features of `graph.features`."""
        level = seen[:, :1].expand(-1, SLOTS - 1)
        changes, steps, flags = torch.chunk(seen[:, 1:], 3, dim=1)
        series = torch.stack([level, changes, steps, flags], dim=2).flip(1)
        states, _ = self.cells(series)
        change, below, above = torch.chunk(self.last(states[:, -1]), 3, dim=1)
        return change, nn.functional.softplus(below), nn.functional.softplus(above)


def boosted(train: Windows, judged: Windows, rows: int = 150_000) -> Forecast:
    """Boosted trees for each shown horizon on the same features, of some of the training windows."""
    picked = np.random.default_rng(SEED).permutation(len(train))[:rows]
    seen, unseen = graph.features(train.rows[picked]), graph.features(judged.rows)
    said = np.repeat(judged.rows[:, :1].astype(np.float64), len(HORIZONS_MINUTES), axis=1)
    for at in (HORIZONS_MINUTES.index(minutes) for minutes in SHOWN):
        change = (train.truth[picked] - train.rows[picked][:, :1])[:, at]
        known = np.isfinite(change)
        trees = HistGradientBoostingRegressor(max_iter=200, learning_rate=0.1, random_state=SEED)
        said[:, at] += trees.fit(seen[known], change[known]).predict(unseen)
    return said


def network(train: Windows, judged: Windows, recipe: Recipe, begin: Callable[[], nn.Module] | None = None) -> Forecast:
    """The expected value of a trained network."""
    spread = spreads(train)
    torch.manual_seed(SEED)
    begun = begin() if begin else build(recipe, SEED)
    fitted, _ = fit(begun, train, judged, spread, recipe, SEED)
    fitted.eval()
    with torch.no_grad():
        parts = np.array_split(judged.rows, max(1, len(judged) // 8192))
        changes = np.concatenate([fitted(torch.from_numpy(graph.features(part)))[0].numpy() for part in parts])
    return judged.rows[:, :1] + changes * spread


def main() -> None:
    """Runs everything and writes a Markdown table, after each row."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", type=Path)
    asked.add_argument("out", type=Path)
    given = asked.parse_args()
    torch.set_num_threads(1)
    data = collection.load(given.data)
    train, judged = data.parts["train"], data.parts["validation"]
    lines = ["| what | 30 min | 60 min | 120 min |", "|---|---|---|---|"]

    def add(what: str, said: Forecast) -> None:
        cells = []
        for minutes in SHOWN:
            at = HORIZONS_MINUTES.index(minutes)
            value, low, high = forecasts.rmse(judged.truth[:, at], said[:, at], judged.person)
            cells.append(f"{value:.2f} ({low:.1f} to {high:.1f})")
        lines.append(f"| {what} | {' | '.join(cells)} |")
        given.out.write_text("\n".join(lines) + "\n", encoding="utf-8")

    add("persistence", np.repeat(judged.rows[:, :1], len(HORIZONS_MINUTES), axis=1))
    straight = linear.fit(train.rows, train.truth, HORIZONS_MINUTES)
    add("linear on the last 12 values", straight.forecast(judged.rows))
    add("boosted trees, 150,000 windows", boosted(train, judged))
    for what, recipe in CHANGES.items():
        add(what, network(train, judged, recipe))
    add("LSTM of 64 cells, 4 epochs", network(train, judged, replace(PLAIN, epochs=4), Recurrent))


if __name__ == "__main__":
    main()
