"""One network of `icu_mortality`: its layers, its training loop and when that stops; torch, but no files."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from schemas.errors import UserError
from triton_models.icu_mortality.recipe import Recipe

Progress = Callable[[str], None]
Layers = list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]]


@dataclass(slots=True)
class Fitted:
    """The best network of a run (by validation loss), its epoch and the history of every epoch."""

    network: nn.Sequential
    best_epoch: int
    history: list[dict[str, float]]

    def layers(self) -> Layers:
        """(weight, bias) of each linear layer, from the input to the logit."""
        linear = [layer for layer in self.network if isinstance(layer, nn.Linear)]
        return [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in linear]

    def logits(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Uncalibrated logits of scaled rows [rows, 124]."""
        self.network.eval()
        with torch.no_grad():
            out: Tensor = self.network(torch.from_numpy(rows))
        return out[:, 0].double().numpy()


def fit(
    rows: Mapping[str, npt.NDArray[np.float32]],
    died: Mapping[str, npt.NDArray[np.bool_]],
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


def build(width: int, recipe: Recipe) -> nn.Sequential:
    """Linear, ReLU and dropout for each size, then one logit."""
    layers: list[nn.Module] = []
    for size, share in zip(recipe.sizes, recipe.dropout, strict=True):
        layers += [nn.Linear(width, size), nn.ReLU(), nn.Dropout(share)]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, 1))


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
