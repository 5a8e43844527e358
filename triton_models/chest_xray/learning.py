"""The network of `chest_xray` and how it learns: balanced batches, mixed images, chosen epochs; imports torch."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from triton_models._vision import state as run
from triton_models._vision.state import DEVICE, Pace, Progress, ahead, mark_of
from triton_models._vision.trunk import draw_weights, residual_trunk, start_from
from triton_models.chest_xray.augment import augment
from triton_models.chest_xray.collection import Division, load
from triton_models.chest_xray.measure import CHOOSING_SHIFTS, prepared
from triton_models.chest_xray.preprocess import SIDE
from triton_models.figures import rank_auroc

CACHE_SIDE = 160
Batch = tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a run may differ in besides data and seed."""

    side: int = SIDE
    width: int = 32
    epochs: int = 20
    batch: int = 32
    peak_rate: float = 1.5e-3
    weight_decay: float = 0.05
    smoothing: float = 0.05
    mixup: float = 0.2
    average: float = 0.997
    subtype_weight: float = 0.3
    choose_last: int = 6
    people: int | None = None


class LungNet(nn.Module):
    """A residual network of 18 layers, `width` channels wide at its first stage, on one grey channel.

    It normalises each image itself and classifies every place before averaging.

    In: uint8 or float [batch, 1, side, side], 0-255. Out: logits [batch, 2]: pneumonia against normal, and virus
    against bacterium, which only serves training. Classifying before averaging keeps a row's result independent of
    the batch that it travels in, bit by bit.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.trunk = residual_trunk(1, width)
        draw_weights(self)
        self.drop = nn.Dropout2d(0.2)
        self.head = nn.Conv2d(width << 3, 2, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        grey = pixels.float()
        centre = grey.mean(dim=(2, 3), keepdim=True)
        spread = (grey - centre).square().mean(dim=(2, 3), keepdim=True).sqrt()
        places = self.head(self.drop(self.trunk((grey - centre) / (spread + 4.0))))
        logits: Tensor = places.mean(dim=(2, 3))
        return logits


State = run.State[LungNet]


def batches(
    images: npt.NDArray[np.uint8], truth: npt.NDArray[np.bool_], recipe: Recipe, seed: int, epoch: int
) -> Iterator[Batch]:
    """Batches of one epoch, half of each class, made ahead by one thread; equal for equal seed and epoch."""
    rng = np.random.default_rng((seed, epoch))
    half = recipe.batch // 2
    steps = max(1, len(images) // recipe.batch)
    sick, well = np.flatnonzero(truth), np.flatnonzero(~truth)

    def deal(pool: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        rounds = math.ceil(steps * half / len(pool))
        return np.concatenate([rng.permutation(pool) for _ in range(rounds)])[: steps * half].reshape(steps, half)

    order = np.concatenate([deal(sick), deal(well)], axis=1)

    def make() -> Iterator[Batch]:
        for chosen in order:
            strangers = rng.integers(0, len(images), len(chosen))
            made = [augment(images[i], images[j], recipe.side, rng) for i, j in zip(chosen, strangers, strict=True)]
            yield chosen, np.stack(made)[:, None]

    return ahead(make(), 4)


def loss_of(logits: Tensor, pneumonia: Tensor, virus: Tensor, recipe: Recipe) -> Tensor:
    """Smoothed cross entropy on pneumonia, plus a share for virus against bacterium where there is pneumonia."""
    smooth = pneumonia * (1 - recipe.smoothing) + recipe.smoothing / 2
    main = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], smooth)
    side = nn.functional.binary_cross_entropy_with_logits(logits[:, 1], virus, reduction="none")
    return main + recipe.subtype_weight * (side * pneumonia.floor()).mean()


def begin(recipe: Recipe, rows: int, seed: int, init: Path | None) -> State:
    """A fresh run; `init` names domain weights (a state dictionary of this network) to start from."""
    torch.manual_seed(seed)
    network = LungNet(recipe.width)
    if init is not None:
        start_from(network, init)
    steps = max(1, rows // recipe.batch) * recipe.epochs
    pace = Pace(recipe.peak_rate, recipe.weight_decay, recipe.average, steps, rise=0.15, divisor=20.0)
    return run.State.begin(network, pace, seed)


def run_epoch(
    state: State,
    images: npt.NDArray[np.uint8],
    truth: npt.NDArray[np.bool_],
    virus: npt.NDArray[np.bool_],
    recipe: Recipe,
    seed: int,
) -> float:
    """One pass; returns the mean loss. A loss that is not finite stops the run with its cause and what to try."""
    epoch, total, steps = len(state.history), 0.0, 0
    state.network.train()
    for chosen, made in batches(images, truth, recipe, seed, epoch):
        pixels = torch.from_numpy(made).to(DEVICE).float()
        pneumonia = torch.from_numpy(truth[chosen]).to(DEVICE).float()
        subtype = torch.from_numpy(virus[chosen]).to(DEVICE).float()
        if recipe.mixup > 0 and state.mixer.random() < 0.5:
            share = float(state.mixer.beta(recipe.mixup, recipe.mixup))
            other = torch.from_numpy(state.mixer.permutation(len(chosen))).to(DEVICE)
            pixels = share * pixels + (1 - share) * pixels[other]
            pneumonia = share * pneumonia + (1 - share) * pneumonia[other]
            subtype = share * subtype + (1 - share) * subtype[other]
        with torch.autocast(DEVICE, torch.bfloat16):
            logits = state.network(pixels.to(memory_format=torch.channels_last))
        loss = loss_of(logits.float(), pneumonia, subtype, recipe)
        total, steps = total + state.descend(loss, steps), steps + 1
    return total / max(1, steps)


def logits_of(network: nn.Module, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Pneumonia logits, before calibration, of uint8 images [n, 1, side, side]."""
    network.eval()
    found = []
    with torch.inference_mode(), torch.autocast(DEVICE, torch.bfloat16):
        for start in range(0, len(images), 64):
            pixels = torch.from_numpy(images[start : start + 64]).to(DEVICE).float()
            found.append(network(pixels.to(memory_format=torch.channels_last))[:, 0].float().cpu().numpy())
    return np.concatenate(found).astype(np.float64)


def learn(
    division: Division, state: State, recipe: Recipe, seed: int, out_dir: Path, say: Progress
) -> dict[str, Tensor]:
    """Runs the epochs that are left; returns the averaged weights whose worst shift on validation was best."""
    images = load(division.train, CACHE_SIDE)
    truth = np.array([picture.pneumonia for picture in division.train])
    virus = np.array([picture.subtype == "virus" for picture in division.train])
    judged = np.array([picture.pneumonia for picture in division.validation])
    views = {name: prepared(division.validation, name) for name in CHOOSING_SHIFTS[:4]}
    mark = mark_of(asdict(recipe), seed, division.data_hash)
    last, chosen = out_dir / "last.pt", out_dir / "best.pt"
    if state.load(last, mark):
        say(f"going on after epoch {len(state.history)}")
    while (epoch := len(state.history)) < recipe.epochs:
        began = time.monotonic()
        row = {"epoch": float(epoch), "loss": run_epoch(state, images, truth, virus, recipe, seed)}
        late = epoch >= recipe.epochs - recipe.choose_last
        for name in CHOOSING_SHIFTS[: 4 if late else 1]:
            row[f"auroc, {name}"] = rank_auroc(judged, logits_of(state.averaged.module, views[name]))
        row["worst"] = min(value for name, value in row.items() if name.startswith("auroc")) if late else -1.0
        row["seconds"] = time.monotonic() - began
        if late and row["worst"] > max((earlier["worst"] for earlier in state.history), default=-1.0):
            torch.save(state.averaged.module.state_dict(), chosen)
        state.history.append(row)
        state.save(last, mark)
        say(f"epoch {epoch + 1} of {recipe.epochs}: " + ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
    best: dict[str, Tensor] = torch.load(chosen, map_location="cpu", weights_only=True)
    return best
