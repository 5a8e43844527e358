"""How `fracture` learns: crops around places, whole views, then a readout; imports torch."""

import hashlib
import json
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from schemas.errors import UserError
from triton_models.figures import rank_auroc
from triton_models.fracture.augment import IGNORED, Source, augment, in_pixels
from triton_models.fracture.collection import Division, Picture, grey
from triton_models.fracture.framing import COLUMNS, ROWS, find_limb
from triton_models.fracture.network import BoneNet, Readout, start_from
from triton_models.fracture.preprocess import prepare

STRENGTHS = (3e-4, 1e-3, 3e-3, 1e-2)
Progress = Callable[[str], None]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a run may differ in besides data and seed."""

    width: int = 32
    pyramid: int = 64
    crop: int = 160
    crop_epochs: int = 24
    crop_batch: int = 24
    crop_steps: int = 50
    view_epochs: int = 22
    view_batch: int = 16
    view_steps: int = 25
    frozen_layers: int = 6
    peak_rate: float = 1e-3
    weight_decay: float = 0.05
    smoothing: float = 0.05
    average: float = 0.99
    place_weight: float = 0.5
    changes: bool = True
    few: int | None = None

    @property
    def epochs(self) -> int:
        """Of both kinds together."""
        return self.crop_epochs + self.view_epochs

    def steps(self, epoch: int) -> int:
        """Steps of this epoch."""
        return self.crop_steps if epoch < self.crop_epochs else self.view_steps


QUICK = Recipe(
    width=8,
    pyramid=8,
    crop=64,
    crop_epochs=1,
    crop_batch=4,
    crop_steps=3,
    view_epochs=1,
    view_batch=2,
    view_steps=3,
    few=6,
)


def sources(pictures: Sequence[Picture]) -> list[Source]:
    """The pictures in memory, each with its window and its boxes in its own pixels."""
    found = []
    for picture in pictures:
        display = grey(picture)
        found.append(Source(display, find_limb(display), in_pixels(picture.boxes, display)))
    return found


def batches(images: Sequence[Source], recipe: Recipe, seed: int, epoch: int) -> Iterator[Batch]:
    """Batches of one epoch, half of the images fractured, made ahead by one thread; equal for equal seed and epoch."""
    rng = np.random.default_rng((seed, epoch))
    crops = epoch < recipe.crop_epochs
    size = (recipe.crop, recipe.crop) if crops else (ROWS, COLUMNS)
    half = (recipe.crop_batch if crops else recipe.view_batch) // 2
    ill = np.array([number for number, source in enumerate(images) if len(source.boxes)])
    well = np.array([number for number, source in enumerate(images) if not len(source.boxes)])
    ready: queue.Queue[Batch | None] = queue.Queue(maxsize=3)

    def make() -> None:
        for _ in range(recipe.steps(epoch)):
            chosen = np.concatenate([rng.choice(ill, half), rng.choice(well, half)])
            strangers = rng.integers(0, len(images), len(chosen))
            made = [
                augment(images[i], images[j].display, size, rng, change=recipe.changes)
                for i, j in zip(chosen, strangers, strict=True)
            ]
            maps = np.stack([places for _, places in made])
            truth = (maps == 1.0).any(axis=(1, 2)) if crops else np.isin(chosen, ill)
            ready.put((np.stack([image for image, _ in made])[:, None], maps, truth.astype(np.float32)))
        ready.put(None)

    threading.Thread(target=make, daemon=True).start()
    while (batch := ready.get()) is not None:
        yield batch


def loss_of(logits: Tensor, places: Tensor, truth: Tensor, maps: Tensor, recipe: Recipe) -> Tensor:
    """Smoothed cross entropy of the image plus a share of the focal loss (Lin 2017) of its places."""
    smooth = truth * (1 - recipe.smoothing) + recipe.smoothing / 2
    image = nn.functional.binary_cross_entropy_with_logits(logits, smooth)
    target, counted = maps.clamp(min=0.0), (maps != IGNORED).float()
    entropy = nn.functional.binary_cross_entropy_with_logits(places, target, reduction="none")
    sure = torch.sigmoid(places) * (2 * target - 1) + (1 - target)
    focal = ((1 - sure).square() * entropy * counted).sum() / (target * counted).sum().clamp(min=1.0)
    return image + recipe.place_weight * focal


@dataclass(slots=True)
class State:
    """A run between two epochs, whole: written after each, so that a killed run goes on where it was."""

    network: BoneNet
    averaged: Any
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    history: list[dict[str, float]]

    @classmethod
    def begin(cls, recipe: Recipe, seed: int, init: Path | None, sample: Tensor) -> "State":
        """A fresh run; `init` names domain weights to start from (see `network.start_from`)."""
        torch.manual_seed(seed)
        network = BoneNet(recipe.width, recipe.pyramid)
        if init is not None:
            start_from(network, init, sample)
        network = network.to(DEVICE).to(memory_format=torch.channels_last)
        optimiser = torch.optim.AdamW(network.parameters(), recipe.peak_rate, weight_decay=recipe.weight_decay)
        return cls(
            network=network,
            averaged=torch.optim.swa_utils.AveragedModel(
                network,
                multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average),  # type: ignore[no-untyped-call]
                use_buffers=True,
            ),
            optimiser=optimiser,
            schedule=torch.optim.lr_scheduler.OneCycleLR(
                optimiser,
                recipe.peak_rate,
                total_steps=sum(recipe.steps(epoch) for epoch in range(recipe.epochs)),
                pct_start=0.1,
                div_factor=10.0,
            ),
            history=[],
        )

    def _parts(self) -> tuple[Any, ...]:
        return self.network, self.averaged, self.optimiser, self.schedule

    def save(self, path: Path, mark: str) -> None:
        """Writes everything beside `mark`, which names the recipe and data that it belongs to; atomic."""
        torch.save(
            {
                "mark": mark,
                "parts": [part.state_dict() for part in self._parts()],
                "dice": torch.get_rng_state(),
                "history": self.history,
            },
            path.with_suffix(".new"),
        )
        path.with_suffix(".new").replace(path)

    def load(self, path: Path, mark: str) -> bool:
        """Takes over a checkpoint of the same recipe and data; False where there is none."""
        if not path.is_file():
            return False
        kept = torch.load(path, map_location=DEVICE, weights_only=True)
        if kept["mark"] != mark:
            return False
        for part, state in zip(self._parts(), kept["parts"], strict=True):
            part.load_state_dict(state)
        torch.set_rng_state(kept["dice"].cpu())
        self.history = kept["history"]
        return True


def run_epoch(state: State, images: Sequence[Source], recipe: Recipe, seed: int) -> float:
    """`recipe.steps` steps; returns the mean loss. A loss that is not finite stops the run with what to try."""
    epoch, total = len(state.history), 0.0
    state.network.train()
    if epoch >= recipe.crop_epochs:  # whole views are few: what sees edges stays as the crops have made it
        for layer in state.network.trunk[: recipe.frozen_layers]:
            layer.requires_grad_(False)
    for pixels, maps, truth in batches(images, recipe, seed, epoch):
        shown = torch.from_numpy(pixels).to(DEVICE).float().to(memory_format=torch.channels_last)
        logits, places = state.network(shown)
        loss = loss_of(logits, places, torch.from_numpy(truth).to(DEVICE), torch.from_numpy(maps).to(DEVICE), recipe)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise UserError(
                f"the loss became {value} in epoch {epoch + 1}: the weights are lost. Halve the recipe's peak_rate "
                f"({recipe.peak_rate:g}) or look for damaged images, then start again"
            )
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(state.network.parameters(), 2.0)
        state.optimiser.step()
        state.schedule.step()
        state.averaged.update_parameters(state.network)
        total += value
    return total / recipe.steps(epoch)


def logits_of(network: nn.Module, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Logits, before calibration, of uint8 images [n, 1, rows, columns]."""
    network.eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(images), 8):
            pixels = torch.from_numpy(images[start : start + 8]).to(DEVICE).float()
            found.append(network(pixels.to(memory_format=torch.channels_last))[0].cpu().numpy())
    return np.concatenate(found).astype(np.float64)


def learn(
    division: Division, recipe: Recipe, out_dir: Path, *, seed: int, init: Path | None, say: Progress
) -> tuple[BoneNet, list[dict[str, float]]]:
    """Runs the epochs that are left; the averaged weights after the last, and the history."""
    images = sources(division.train)
    sample = np.stack([prepare(source.display) for source in images[:: max(1, len(images) // 16)]][:16])
    state = State.begin(recipe, seed, init, torch.from_numpy(sample).float())
    judged = np.array([picture.fractured for picture in division.validation])
    views = np.stack([prepare(grey(picture)) for picture in division.validation])
    start = hashlib.sha256(init.read_bytes()).hexdigest() if init else ""
    mark = hashlib.sha256(json.dumps([asdict(recipe), seed, division.data_hash, start]).encode()).hexdigest()
    last = out_dir / "last.pt"
    if state.load(last, mark):
        say(f"going on after epoch {len(state.history)}")
    while (epoch := len(state.history)) < recipe.epochs:
        began = time.monotonic()
        row = {"epoch": float(epoch), "loss": run_epoch(state, images, recipe, seed)}
        if epoch % 4 == 3 or epoch == recipe.epochs - 1:
            row["auroc, as delivered"] = rank_auroc(judged, logits_of(state.averaged.module, views))
        row["seconds"] = time.monotonic() - began
        state.history.append(row)
        state.save(last, mark)
        say(f"epoch {epoch + 1} of {recipe.epochs}: " + ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
    network = BoneNet(recipe.width, recipe.pyramid)
    network.load_state_dict(state.averaged.module.state_dict())
    return network.eval(), state.history


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
