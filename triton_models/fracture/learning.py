"""How `fracture` learns: crops around places, then whole views, then those once more; imports torch."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from triton_models._vision import state as run
from triton_models._vision.state import DEVICE, Pace, Progress, ahead, mark_of
from triton_models.figures import rank_auroc
from triton_models.fracture.augment import IGNORED, Source, augment, in_pixels
from triton_models.fracture.collection import Picture, grey, hash_of
from triton_models.fracture.framing import COLUMNS, ROWS, find_limb
from triton_models.fracture.network import BoneNet, start_from
from triton_models.fracture.preprocess import prepare

Batch = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]
State = run.State[BoneNet]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a run may differ in besides data and seed."""

    folds: int = 3
    width: int = 32
    pyramid: int = 64
    crop: int = 128
    crop_epochs: int = 20
    crop_batch: int = 24
    crop_steps: int = 100
    view_epochs: int = 24
    view_batch: int = 10
    view_steps: int = 40
    again: int = 2
    again_epochs: int = 40
    frozen_layers: int = 6
    peak_rate: float = 1e-3
    again_rate: float = 5e-4
    weight_decay: float = 0.05
    smoothing: float = 0.05
    average: float = 0.99
    place_weight: float = 1.0
    breaks: float = 0.5
    changes: bool = True
    few: int | None = None

    @property
    def first_epochs(self) -> int:
        """Of the first cycle of the rate: crops and views."""
        return self.crop_epochs + self.view_epochs

    @property
    def epochs(self) -> int:
        """Of all cycles together."""
        return self.first_epochs + self.again * self.again_epochs

    @property
    def ends(self) -> tuple[int, ...]:
        """After which epochs one kind or cycle ends."""
        cycles = range(self.first_epochs, self.epochs + 1, self.again_epochs)
        return (self.crop_epochs, *cycles)

    def steps(self, epoch: int) -> int:
        """Steps of this epoch."""
        return self.crop_steps if epoch < self.crop_epochs else self.view_steps

    def share_broken(self, epoch: int) -> float:
        """Share of the normal crops into which a break is drawn: it falls to none as the crops end."""
        return self.breaks * max(0.0, 1 - epoch / self.crop_epochs)


QUICK = Recipe(
    folds=2,
    width=8,
    pyramid=8,
    crop=64,
    crop_epochs=1,
    crop_batch=4,
    crop_steps=3,
    view_epochs=1,
    view_batch=2,
    view_steps=3,
    again_epochs=1,
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
    broken = recipe.share_broken(epoch)
    half = (recipe.crop_batch if crops else recipe.view_batch) // 2
    ill = np.array([number for number, source in enumerate(images) if len(source.boxes)])
    well = np.array([number for number, source in enumerate(images) if not len(source.boxes)])

    def make() -> Iterator[Batch]:
        for _ in range(recipe.steps(epoch)):
            chosen = np.concatenate([rng.choice(ill, half), rng.choice(well, half)])
            strangers = rng.integers(0, len(images), len(chosen))
            made = [
                augment(images[i], images[j].display, size, rng, change=recipe.changes, breaks=broken)
                for i, j in zip(chosen, strangers, strict=True)
            ]
            maps = np.stack([places for _, places in made])
            truth = (maps == 1.0).any(axis=(1, 2)) if crops else np.isin(chosen, ill)
            yield np.stack([image for image, _ in made])[:, None], maps, truth.astype(np.float32)

    return ahead(make(), 3)


def loss_of(logits: Tensor, places: Tensor, truth: Tensor, maps: Tensor, recipe: Recipe) -> Tensor:
    """Smoothed cross entropy of the image plus a share of the focal loss (Lin 2017) of its places."""
    smooth = truth * (1 - recipe.smoothing) + recipe.smoothing / 2
    image = nn.functional.binary_cross_entropy_with_logits(logits, smooth)
    target, counted = maps.clamp(min=0.0), (maps != IGNORED).float()
    entropy = nn.functional.binary_cross_entropy_with_logits(places, target, reduction="none")
    sure = torch.sigmoid(places) * (2 * target - 1) + (1 - target)
    focal = ((1 - sure).square() * entropy * counted).sum() / (target * counted).sum().clamp(min=1.0)
    return image + recipe.place_weight * focal


def begin(recipe: Recipe, seed: int, init: Path | None, sample: Tensor) -> State:
    """A fresh run; `init` names domain weights to start from (see `network.start_from`)."""
    torch.manual_seed(seed)
    network = BoneNet(recipe.width, recipe.pyramid)
    if init is not None:
        start_from(network, init, sample)
    steps = sum(recipe.steps(epoch) for epoch in range(recipe.first_epochs))
    pace = Pace(recipe.peak_rate, recipe.weight_decay, recipe.average, steps, rise=0.1, divisor=10.0)
    return run.State.begin(network, pace, seed)


def begin_again(recipe: Recipe, seed: int, averaged: nn.Module) -> State:
    """Another cycle of the rate, over whole views alone, from the averaged weights of the last.

    The views of the first cycle come when its rate has fallen to a third.
    """
    torch.manual_seed(seed)
    network = BoneNet(recipe.width, recipe.pyramid)
    network.load_state_dict(averaged.state_dict())
    steps = recipe.again_epochs * recipe.view_steps
    pace = Pace(recipe.again_rate, recipe.weight_decay, recipe.average, steps, rise=0.1, divisor=10.0)
    return run.State.begin(network, pace, seed)


def run_epoch(state: State, images: Sequence[Source], recipe: Recipe, seed: int, epoch: int) -> float:
    """The steps of this epoch of the run; returns the mean loss. One that is not finite stops it with what to try."""
    total = 0.0
    state.network.train()
    if epoch >= recipe.crop_epochs:  # whole views are few: what sees edges stays as the crops have made it
        for layer in state.network.trunk[: recipe.frozen_layers]:
            layer.requires_grad_(False)
    for step, (pixels, maps, truth) in enumerate(batches(images, recipe, seed, epoch)):
        shown = torch.from_numpy(pixels).to(DEVICE).float().to(memory_format=torch.channels_last)
        logits, places = state.network(shown)
        loss = loss_of(logits, places, torch.from_numpy(truth).to(DEVICE), torch.from_numpy(maps).to(DEVICE), recipe)
        total += state.descend(loss, step)
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
    known: Sequence[Picture],
    unseen: Sequence[Picture],
    recipe: Recipe,
    out_dir: Path,
    *,
    seed: int,
    init: Path | None,
    say: Progress,
) -> tuple[BoneNet, list[dict[str, float]]]:
    """Learns from `known` in the epochs that are left; the averaged weights after the last, and the history.

    `unseen` are looked at, now and then, for the history alone: nothing is chosen by that.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    images = sources(known)
    sample = np.stack([prepare(source.display) for source in images[:: max(1, len(images) // 16)]][:16])
    unseen_views = np.stack([prepare(grey(picture)) for picture in unseen]), np.array([one.fractured for one in unseen])
    start = hashlib.sha256(init.read_bytes()).hexdigest() if init else ""
    mark = mark_of(asdict(recipe), seed, hash_of([*known, *unseen]), start)

    def go_on(state: State, first: int, epochs: int, path: Path) -> None:
        if state.load(path, mark):
            say(f"going on after epoch {first + len(state.history)}")
        while len(state.history) < epochs:
            began, epoch = time.monotonic(), first + len(state.history)
            row = {"epoch": float(epoch), "loss": run_epoch(state, images, recipe, seed, epoch)}
            if epoch + 1 in recipe.ends:
                views, judged = unseen_views
                row["auroc, as delivered"] = rank_auroc(judged, logits_of(state.averaged.module, views))
            row["seconds"] = time.monotonic() - began
            state.history.append(row)
            state.save(path, mark)
            told = ", ".join(f"{key} {value:.4g}" for key, value in row.items())
            say(f"epoch {epoch + 1} of {recipe.epochs}: {told}")

    state = begin(recipe, seed, init, torch.from_numpy(sample).float())
    go_on(state, 0, recipe.first_epochs, out_dir / "last.pt")
    history = state.history
    for number in range(1, recipe.again + 1):
        state = begin_again(recipe, seed + number, state.averaged.module)
        go_on(state, len(history), recipe.again_epochs, out_dir / f"again-{number}.pt")
        history = history + state.history
    network = BoneNet(recipe.width, recipe.pyramid)
    network.load_state_dict(state.averaged.module.state_dict())
    return network.eval(), history
