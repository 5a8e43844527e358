"""Trains `glucose` (a residual network on the grid's changes) and writes the graph that is served; the only torch file.

Reading and dividing, the graph and the report are files of their own.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from schemas.errors import UserError
from triton_models import linear
from triton_models.glucose import collection, graph, report
from triton_models.glucose.card import COVERAGE, HORIZONS_MINUTES
from triton_models.glucose.collection import Windows
from triton_models.glucose.preprocess import SLOTS, anybody
from triton_models.trained import TrainedModel

Progress = Callable[[str], None]
Rows = npt.NDArray[np.float32]
Net = TypeVar("Net", bound=nn.Module)
SEED = 120
HORIZONS = len(HORIZONS_MINUTES)
TAIL = (1 - COVERAGE) / 2


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run may differ in besides its windows and seed.

    An epoch draws `windows` of the training windows: with `evenness` 0 any is as likely as another, with 1 any person.
    What is kept is a running average of the weights that remembers the share `memory` of itself a step. `tails` weighs
    the interval's ends against the middle.
    """

    width: int = 128
    blocks: int = 2
    rate: float = 2e-3
    decay: float = 1e-4
    batch: int = 1024
    epochs: int = 12
    windows: int = 200_000
    tails: float = 0.5
    memory: float = 0.998
    evenness: float = 0.5


class Residual(nn.Module):
    """Features to (change, below, above) by horizon: ReLU blocks around a straight linear path."""

    def __init__(self, width: int, recipe: Recipe) -> None:
        super().__init__()
        self.first = nn.Linear(width, recipe.width)
        for place in range(recipe.blocks):
            pair = nn.Sequential(nn.Linear(recipe.width, recipe.width), nn.Linear(recipe.width, recipe.width))
            setattr(self, f"block{place}", pair)
        self.last = nn.Linear(recipe.width, 3 * HORIZONS)
        self.straight = nn.Linear(width, HORIZONS)
        self.blocks = recipe.blocks

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """In spreads by horizon; `below` and `above` are not negative."""
        value = torch.relu(self.first(seen))
        for place in range(self.blocks):
            inner, outer = getattr(self, f"block{place}")
            value = torch.relu(value + outer(torch.relu(inner(value))))
        change, below, above = self.last(value).split(HORIZONS, dim=1)
        return change + self.straight(seen), nn.functional.softplus(below), nn.functional.softplus(above)

    def layers(self) -> dict[str, tuple[Rows, Rows]]:
        """(weight, bias) by name."""
        found = {name: part for name, part in self.named_modules() if isinstance(part, nn.Linear)}
        return {name: (part.weight.detach().numpy(), part.bias.detach().numpy()) for name, part in found.items()}


def train(
    data_dir: Path,
    out_dir: Path,
    *,
    quick: bool = False,
    seed: int = SEED,
    init: Path | None = None,
    progress: Progress | None = None,
    recipe: Recipe | None = None,
) -> TrainedModel:
    """Trains on the Parquet files in `data_dir` and writes weights, baseline, metadata and history to `out_dir`.

    `quick` is a rehearsal of two short epochs. `init` is the `weights.npz` of an earlier run to start from. The
    intervals are calibrated on validation people; held-back people and the later time of training people are looked
    at once, at the end. Raises UserError for data that cannot be trained on and a run that breaks down.
    """
    started = time.monotonic()
    torch.set_num_threads(1)
    chosen = recipe or Recipe()
    chosen = replace(chosen, epochs=min(chosen.epochs, 2), windows=min(chosen.windows, 20_000)) if quick else chosen
    say = progress or (lambda line: None)
    say("reading")
    data = collection.load(data_dir)
    parts = data.parts
    baseline = linear.fit(parts["train"].rows, parts["train"].truth, HORIZONS_MINUTES)
    spread = spreads(parts["train"])
    begun = build(chosen, seed, init)
    network, history = fit(begun, parts["train"], parts["validation"], spread, chosen, seed, progress=say)
    low, high = calibrate(network, parts["validation"], spread)
    out_dir.mkdir(parents=True, exist_ok=True)
    weights = out_dir / "glucose.onnx"
    graph.write(weights, graph.Network(network.layers(), chosen.blocks, spread, low, high))
    np.savez(out_dir / "weights.npz", **{name: value.numpy() for name, value in network.state_dict().items()})
    baseline.save(out_dir)
    say("measuring")
    return report.write(
        out_dir,
        report.Run(
            weights=weights,
            data=data,
            baseline=baseline,
            forecasts={name: served(weights, windows.rows) for name, windows in parts.items() if name != "train"},
            recipe=asdict(chosen),
            seed=seed,
            quick=quick,
            history=history,
            stretch=(low, high),
            dependencies={"torch": torch.__version__, "onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__},
            seconds=time.monotonic() - started,
        ),
    )


def spreads(windows: Windows) -> Rows:
    """The root mean square change by horizon, mg/dL, at least 1."""
    change = windows.truth - windows.rows[:, :1]
    found = np.sqrt(np.nanmean(change.astype(np.float64) ** 2, axis=0))
    if not np.isfinite(found).all():
        raise UserError("No training window has a reading at one of the horizons; the readings are too sparse.")
    spread: Rows = np.maximum(found, 1.0).astype(np.float32)
    return spread


def build(recipe: Recipe, seed: int, init: Path | None = None) -> Residual:
    """The network to begin with: random by the seed, or as an earlier run of the same layers left it."""
    torch.manual_seed(seed)
    network = Residual(graph.features(np.zeros((1, SLOTS), dtype=np.float32)).shape[1], recipe)
    _start(network, init)
    return network


def fit(
    network: Net,
    train: Windows,
    validation: Windows,
    spread: Rows,
    recipe: Recipe,
    seed: int,
    *,
    progress: Progress | None = None,
) -> tuple[Net, list[dict[str, float]]]:
    """AdamW with one warm-up and one long descent of the rate; the running average of the weights at its end."""
    rng = np.random.default_rng(seed)
    per = min(recipe.windows, len(train))
    size = min(recipe.batch, per)
    optimizer = torch.optim.AdamW(network.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    steps = recipe.epochs * (per // size)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    share = _shares(train.person, recipe.evenness)
    history: list[dict[str, float]] = []
    kept = copy.deepcopy(network)
    for epoch in range(1, recipe.epochs + 1):
        picked = rng.choice(len(train), per, replace=False, p=share)
        network.train()
        total = 0.0
        for start in range(0, per - size + 1, size):
            loss = _loss(network, train, picked[start : start + size], spread, recipe)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            rate.step()
            _follow(kept, network, recipe.memory)
            total += loss.item() / (per // size)
        measured = validation_loss(kept, validation, spread, recipe)
        _check_finite(total, measured, recipe, epoch)
        history.append({"epoch": float(epoch), "loss": total, "val_loss": measured})
        if progress:
            progress(f"epoch {epoch} of {recipe.epochs}, validation loss {measured:.4f}")
    return kept, history


def validation_loss(network: nn.Module, windows: Windows, spread: Rows, recipe: Recipe) -> float:
    """The loss over all windows of a part."""
    network.eval()
    with torch.no_grad():
        places = np.array_split(np.arange(len(windows)), max(1, len(windows) // 8192))
        losses = [_loss(network, windows, part, spread, recipe).item() * len(part) for part in places]
    return float(sum(losses) / len(windows))


def calibrate(network: Residual, windows: Windows, spread: Rows) -> tuple[Rows, Rows]:
    """How far each half of the interval must be stretched, by horizon, for 5 % of the truth to lie beyond each end.

    Split conformal on validation people, every person with the same weight: long records must not decide alone.
    """
    network.eval()
    with torch.no_grad():
        answers = network(torch.from_numpy(graph.features(windows.rows)))
    change, below, above = (part.numpy().astype(np.float64) for part in answers)
    real = (windows.truth - windows.rows[:, :1]) / spread
    low = [_quantile((change - real)[:, place] / below[:, place], windows.person) for place in range(HORIZONS)]
    high = [_quantile((real - change)[:, place] / above[:, place], windows.person) for place in range(HORIZONS)]
    return np.array(low, dtype=np.float32), np.array(high, dtype=np.float32)


def served(weights: Path, rows: Rows) -> Rows:
    """Forecasts [rows, horizons, 3] by the file that will be served."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    parts = np.array_split(rows, max(1, len(rows) // 4096))
    answers: Rows = np.concatenate([session.run(None, {"glucose": anybody(part)})[0] for part in parts])
    return answers


def _loss(network: nn.Module, windows: Windows, places: npt.NDArray[np.int64], spread: Rows, recipe: Recipe) -> Tensor:
    """Squared error of the expected change, and pinball loss of both ends, where the truth is known; in spreads.

    The ends do not pull at the middle: it stays the mean, which the root mean square error is measured by.
    """
    rows, truth = windows.rows[places], windows.truth[places]
    real = torch.from_numpy((truth - rows[:, :1]) / spread)
    known = torch.isfinite(real)
    real = torch.nan_to_num(real)
    change, below, above = network(torch.from_numpy(graph.features(rows)))
    middle = change.detach()
    loss = (real - change) ** 2
    loss = loss + recipe.tails * (_pinball(real - (middle - below), TAIL) + _pinball(real - (middle + above), 1 - TAIL))
    mean: Tensor = (loss * known).sum() / known.sum().clamp(min=1)
    return mean


def _pinball(over: Tensor, share: float) -> Tensor:
    return torch.maximum(share * over, (share - 1) * over)


def _shares(person: npt.NDArray[np.int64], evenness: float) -> npt.NDArray[np.float64]:
    """How likely each window is drawn; sums to 1."""
    _, member, counts = np.unique(person, return_inverse=True, return_counts=True)
    weight = counts[member].astype(np.float64) ** -evenness
    share: npt.NDArray[np.float64] = weight / weight.sum()
    return share


def _follow(kept: nn.Module, network: nn.Module, memory: float) -> None:
    """Moves the average a step towards the weights."""
    with torch.no_grad():
        for mean, now in zip(kept.parameters(), network.parameters(), strict=True):
            mean.lerp_(now, 1 - memory)


def _rate(step: int, steps: int) -> float:
    """Up over the first tenth, then down along half a cosine; a share of the full rate."""
    warm = max(1, steps // 10)
    if step < warm:
        return 0.05 + 0.95 * step / warm
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm)))) + 1e-4


def _quantile(scores: npt.NDArray[np.float64], person: npt.NDArray[np.int64]) -> float:
    """The 95 % quantile of the known scores, each person weighing the same."""
    known = np.isfinite(scores)
    scores, person = scores[known], person[known]
    if not len(scores):
        return 1.0
    _, member, counts = np.unique(person, return_inverse=True, return_counts=True)
    order = np.argsort(scores)
    weight = np.cumsum((1.0 / counts[member])[order])
    place = int(np.searchsorted(weight, (1 - TAIL) * weight[-1]))
    return max(0.05, float(scores[order][min(place, len(scores) - 1)]))


def _check_finite(loss: float, measured: float, recipe: Recipe, epoch: int) -> None:
    if math.isfinite(loss) and math.isfinite(measured):
        return
    raise UserError(
        f"The loss became {loss} in epoch {epoch}: the steps are too long. Lower the learning rate (now "
        f"{recipe.rate:g}, try {recipe.rate / 10:g})."
    )


def _start(network: Residual, init: Path | None) -> None:
    """Loads the `weights.npz` of an earlier run of the same layers."""
    if init is None:
        return
    try:
        with np.load(init) as saved:
            state: dict[str, Any] = {name: torch.from_numpy(saved[name]) for name in saved.files}
        network.load_state_dict(state)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{init} is not the weights.npz of a run with these layers: {error}") from None
