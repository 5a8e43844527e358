"""Trains `icu_mortality` (62 features, 128-64-32) and writes the graph that is served; the only torch file here.

Table, scaling, graph and report are files of their own.
"""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import sklearn
import torch
from torch import Tensor, nn

from schemas.errors import UserError
from triton_models.icu_mortality import graph, report, scaling, table, teacher
from triton_models.trained import TrainedModel

Progress = Callable[[str], None]
SEED = 62


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run may differ in besides its rows and seed.

    `noise` is in standard deviations of a scaled feature. `teacher` is the share of a training target that comes from
    the risk that boosted trees give the row (`teacher.risks`); the rest is the label.
    """

    sizes: tuple[int, ...] = (128, 64, 32)
    dropout: tuple[float, ...] = (0.3, 0.2, 0.2)
    l2: float = 1e-3
    rate: float = 1e-3
    batch: int = 32
    epochs: int = 100
    patience: int = 15
    noise: float = 0.02
    class_weights: bool = True
    teacher: float = 0.7


@dataclass(slots=True)
class Fitted:
    """The best network of a run (by validation loss), its epoch and the history of every epoch."""

    network: nn.Sequential
    best_epoch: int
    history: list[dict[str, float]]

    def layers(self) -> list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
        """(weight, bias) of each linear layer, from the input to the logit."""
        linear = [layer for layer in self.network if isinstance(layer, nn.Linear)]
        return [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in linear]

    def logits(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Uncalibrated logits of scaled rows [rows, 124]."""
        self.network.eval()
        with torch.no_grad():
            out: Tensor = self.network(torch.from_numpy(rows))
        return out[:, 0].double().numpy()


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
    """Trains on the table in `data_dir` and writes weights, metadata, history and charts to `out_dir`.

    `quick` is a rehearsal of three epochs. `init` is the `weights.npz` of an earlier run to start from. Everything is
    chosen on training and validation rows; the test rows are looked at once, at the end. Raises UserError for a table
    that cannot be trained on and for a run that breaks down, with its cause and what to try.
    """
    started = time.monotonic()
    torch.set_num_threads(1)
    chosen = recipe or Recipe()
    chosen = replace(chosen, epochs=min(chosen.epochs, 3)) if quick else chosen
    path = table.find(data_dir)
    data = table.read(path)
    parts = table.split(data.positive)
    scaled = scaling.fit(data.rows[parts["train"]])
    rows = {name: scaled.apply(data.rows[part]) for name, part in parts.items()}
    died = {name: data.positive[part] for name, part in parts.items()}
    targets = soften(died["train"], data.rows[parts["train"]], chosen)
    fitted = fit(rows, died, chosen, seed, targets=targets, start=_start(init, chosen), progress=progress)
    calibration = calibrate(fitted.logits(rows["validation"]), died["validation"])
    out_dir.mkdir(parents=True, exist_ok=True)
    weights = out_dir / "icu_mortality.onnx"
    graph.write(weights, scaled, fitted.layers(), calibration)
    _save(out_dir / "weights.npz", fitted)
    return report.write(
        out_dir,
        report.Run(
            weights=weights,
            data=path,
            data_hash=hashlib.sha256(data.rows.tobytes() + data.positive.tobytes()).hexdigest(),
            refused=len(data.refused) + len(data.unreadable),
            recipe=asdict(chosen),
            seed=seed,
            quick=quick,
            history=fitted.history,
            best_epoch=fitted.best_epoch,
            calibration=calibration,
            scores=_served(weights, {name: data.rows[part] for name, part in parts.items()}),
            died=died,
            dependencies={"torch": torch.__version__, "onnx": onnx.__version__, "scikit-learn": sklearn.__version__},
            seconds=time.monotonic() - started,
        ),
    )


def fit(
    rows: dict[str, npt.NDArray[np.float32]],
    died: dict[str, npt.NDArray[np.bool_]],
    recipe: Recipe,
    seed: int,
    *,
    targets: npt.NDArray[np.float32] | None = None,
    start: dict[str, Tensor] | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Adam until the validation loss has not improved for `patience` epochs; keeps the best epoch's weights.

    `targets` replace the labels of the training rows in the loss; everything that is measured is against labels.
    """
    torch.manual_seed(seed)
    network = build(rows["train"].shape[1], recipe)
    if start:
        network.load_state_dict(start)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.rate, weight_decay=recipe.l2)
    x, y = torch.from_numpy(rows["train"]), torch.from_numpy(died["train"].astype(np.float32))
    vx, vy = torch.from_numpy(rows["validation"]), torch.from_numpy(died["validation"].astype(np.float32))
    aims = y if targets is None else torch.from_numpy(targets)
    weight = torch.tensor(float((y == 0).sum() / (y == 1).sum()) if recipe.class_weights else 1.0)
    loss_of = nn.BCEWithLogitsLoss(pos_weight=weight)
    history: list[dict[str, float]] = []
    best: dict[str, Tensor] = {}
    best_loss, best_epoch = math.inf, 0
    for epoch in range(1, recipe.epochs + 1):
        train_loss = _epoch(network, optimizer, loss_of, x, aims, recipe)
        _check_finite(train_loss, x, recipe, epoch)
        row = {"epoch": float(epoch), "loss": train_loss, **_measure(network, loss_of, x, y, "train_")}
        row |= _measure(network, loss_of, vx, vy, "val_")
        _check_finite(row["val_loss"], vx, recipe, epoch)
        history.append(row)
        if row["val_loss"] < best_loss:
            best_loss, best_epoch = row["val_loss"], epoch
            best = {name: value.clone() for name, value in network.state_dict().items()}
        if progress:
            progress(f"epoch {epoch} of at most {recipe.epochs}, validation loss {row['val_loss']:.4f}")
        if epoch - best_epoch >= recipe.patience:
            break
    network.load_state_dict(best)
    return Fitted(network, best_epoch, history)


def soften(died: npt.NDArray[np.bool_], rows: npt.NDArray[np.float32], recipe: Recipe) -> npt.NDArray[np.float32]:
    """The training targets: labels mixed with what the teacher says; only ever given training rows."""
    labels = died.astype(np.float32)
    if not recipe.teacher:
        return labels
    mixed: npt.NDArray[np.float32] = (1 - recipe.teacher) * labels + recipe.teacher * teacher.risks(rows, died, SEED)
    return mixed.astype(np.float32)


def build(width: int, recipe: Recipe) -> nn.Sequential:
    """Linear, ReLU and dropout for each size, then one logit."""
    layers: list[nn.Module] = []
    for size, share in zip(recipe.sizes, recipe.dropout, strict=True):
        layers += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(share)]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, 1))


def calibrate(logits: npt.NDArray[np.float64], died: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """(slope, offset) that make sigmoid(slope * logit + offset) the probability, by Newton steps on validation rows.

    The slope is one over a temperature; the offset takes back what the class weights added. The order of the rows is
    kept: a slope that is not positive means that the network has learnt nothing, and is replaced by 1.
    """
    design = np.stack([logits, np.ones_like(logits)], axis=1)
    beta, loss = np.array([1.0, 0.0]), _log_loss(logits, died)
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ beta, -500.0, 500.0)))
        curvature = design.T @ (design * (p * (1 - p))[:, None]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, design.T @ (p - died))
        while np.abs(step).max() > 1e-9 and _log_loss(design @ (beta - step), died) > loss:
            step = step / 2
        beta = beta - step
        loss = _log_loss(design @ beta, died)
    slope, offset = (float(value) for value in beta)
    return (slope, offset) if slope > 0 else (1.0, 0.0)


def _log_loss(logits: npt.NDArray[np.float64], died: npt.NDArray[np.bool_]) -> float:
    """Mean negative log likelihood, without overflow."""
    return float(np.mean(np.logaddexp(0.0, logits) - died * logits))


def _served(weights: Path, rows: dict[str, npt.NDArray[np.float32]]) -> dict[str, npt.NDArray[np.float64]]:
    """Probability of death of each row by the file that will be served."""
    session = onnxruntime.InferenceSession(weights, providers=["CPUExecutionProvider"])
    return {
        name: session.run(["probability"], {"features": part})[0][:, 1].astype(np.float64)
        for name, part in rows.items()
    }


def _epoch(
    network: nn.Sequential, optimizer: torch.optim.Optimizer, loss_of: nn.Module, x: Tensor, y: Tensor, recipe: Recipe
) -> float:
    """One pass over the training rows in a new order; the mean loss."""
    network.train()
    total = 0.0
    for picked in torch.split(torch.randperm(len(x)), recipe.batch):
        noisy = x[picked]
        if recipe.noise:
            noisy = noisy + recipe.noise * torch.randn_like(noisy)
        loss: Tensor = loss_of(network(noisy)[:, 0], y[picked])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        total += loss.item() * len(picked)
    return total / len(x)


def _measure(network: nn.Sequential, loss_of: nn.Module, x: Tensor, y: Tensor, prefix: str) -> dict[str, float]:
    network.eval()
    with torch.no_grad():
        logits: Tensor = network(x)[:, 0]
        loss: Tensor = loss_of(logits, y)
    hits = ((logits > 0) == (y > 0.5)).float().mean()
    return {f"{prefix}loss": loss.item(), f"{prefix}accuracy": hits.item()}


def _check_finite(loss: float, rows: Tensor, recipe: Recipe, epoch: int) -> None:
    """Stops a run whose loss is no number, naming the likely cause."""
    if math.isfinite(loss):
        return
    if not bool(torch.isfinite(rows).all()):
        raise UserError(
            f"The loss became {loss} in epoch {epoch} because a scaled feature is not finite. Look for infinite or "
            "absurdly large values in the table."
        )
    raise UserError(
        f"The loss became {loss} in epoch {epoch} with finite inputs: the steps are too long. Lower the learning rate "
        f"(now {recipe.rate:g}, try {recipe.rate / 10:g}) or raise the L2 weight (now {recipe.l2:g})."
    )


def _start(init: Path | None, recipe: Recipe) -> dict[str, Tensor] | None:
    """The state to begin with, from the `weights.npz` of an earlier run; it must fit the layers of `recipe`."""
    if init is None:
        return None
    try:
        with np.load(init) as saved:
            state: dict[str, Any] = {name: torch.from_numpy(saved[name]) for name in saved.files}
        build(state["0.weight"].shape[1], recipe).load_state_dict(state)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise UserError(f"{init} is not the weights.npz of a run with layers {recipe.sizes}: {error}") from None
    return state


def _save(path: Path, fitted: Fitted) -> None:
    np.savez(path, **{name: value.numpy() for name, value in fitted.network.state_dict().items()})
