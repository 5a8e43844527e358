"""The training loop of both otoscope models: balanced batches, averaged weights, checkpoints; imports torch.

What is learned (loss, classes, judge) comes from a model's own train.py.
"""

import hashlib
import json
import math
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from schemas.errors import UserError
from triton_models._otoscopy.augment import augment
from triton_models._otoscopy.collection import KINDS, Division, Picture, colours
from triton_models._otoscopy.network import EarNet, start_from
from triton_models._otoscopy.scoring import CHOOSING_SHIFTS, prepared
from triton_models._otoscopy.view import SIDE, Colour, field, resize

Progress = Callable[[str], None]
Loss = Callable[[Tensor, Tensor], Tensor]
Judge = Callable[[Sequence[Picture], npt.NDArray[np.float64]], float]
"""From the validation photographs and the network's logits to the clinical metric; higher is better."""
CACHE_SIDE = 160
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a run may differ in besides data and seed."""

    kinds: tuple[str, ...]
    answers: int
    side: int = SIDE
    width: int = 24
    epochs: int = 40
    steps: int = 14
    batch: int = 32
    peak_rate: float = 1.5e-3
    weight_decay: float = 0.05
    mixup: float = 0.2
    average: float = 0.99
    choose_last: int = 8
    ramp: float = 0.3
    few: int | None = None


@dataclass(slots=True)
class State:
    """A run between two epochs, whole: written after each, so that a killed run goes on where it was."""

    network: EarNet
    averaged: Any
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    mixer: np.random.Generator
    history: list[dict[str, float]]

    @classmethod
    def begin(cls, recipe: Recipe, seed: int, init: Path | None) -> "State":
        """A fresh run; `init` names domain weights to start from: its trunk then learns at a fifth of the rate."""
        torch.manual_seed(seed)
        network = EarNet(recipe.answers, recipe.width, recipe.side)
        if init is not None:
            start_from(network, init)
        network = network.to(DEVICE).to(memory_format=torch.channels_last)
        rates = [recipe.peak_rate * (0.2 if init else 1.0), recipe.peak_rate]
        heads = [*network.head.parameters(), *network.attention.parameters()]
        optimiser = torch.optim.AdamW(
            [{"params": list(network.trunk.parameters())}, {"params": heads}],
            recipe.peak_rate,
            weight_decay=recipe.weight_decay,
        )
        return cls(
            network=network,
            averaged=torch.optim.swa_utils.AveragedModel(
                network,
                multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average),  # type: ignore[no-untyped-call]
                use_buffers=True,
            ),
            optimiser=optimiser,
            schedule=torch.optim.lr_scheduler.OneCycleLR(
                optimiser, rates, total_steps=recipe.steps * recipe.epochs, pct_start=0.2, div_factor=20.0
            ),
            mixer=np.random.default_rng((seed, 7)),
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
                "mixer": self.mixer.bit_generator.state,
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
        self.mixer.bit_generator.state = kept["mixer"]
        torch.set_rng_state(kept["dice"].cpu())
        self.history = kept["history"]
        return True


def learn(
    division: Division,
    recipe: Recipe,
    loss_of: Loss,
    judge: Judge,
    out_dir: Path,
    *,
    seed: int,
    init: Path | None,
    say: Progress,
) -> tuple[EarNet, list[dict[str, float]]]:
    """Runs the epochs that are left; returns the averaged weights whose worst validation shift was best, and history.

    Raises `UserError` where the loss is lost.
    """
    squares = [resize(field(photograph), CACHE_SIDE) for photograph in colours(one.path for one in division.train)]
    views = {name: prepared(division.validation, name) for name in CHOOSING_SHIFTS}
    mark = hashlib.sha256(json.dumps([asdict(recipe), seed, division.data_hash]).encode()).hexdigest()
    state = State.begin(recipe, seed, init)
    last, chosen = out_dir / "last.pt", out_dir / "best.pt"
    if state.load(last, mark):
        say(f"going on after epoch {len(state.history)}")
    while (epoch := len(state.history)) < recipe.epochs:
        began = time.monotonic()
        row = {"epoch": float(epoch), "loss": _run_epoch(state, squares, division.train, loss_of, recipe, seed)}
        late = epoch >= recipe.epochs - recipe.choose_last
        for name in CHOOSING_SHIFTS if late else CHOOSING_SHIFTS[:1]:
            row[f"judged, {name}"] = judge(division.validation, logits_of(state.averaged.module, views[name]))
        row["worst"] = min(value for name, value in row.items() if name.startswith("judged")) if late else -1.0
        row["seconds"] = time.monotonic() - began
        if late and row["worst"] >= max((earlier["worst"] for earlier in state.history), default=-1.0):
            torch.save(state.averaged.module.state_dict(), chosen)
        state.history.append(row)
        state.save(last, mark)
        (out_dir / "history.json").write_text(json.dumps(state.history, indent=1) + "\n", encoding="utf-8")
        say(f"epoch {epoch + 1} of {recipe.epochs}: " + ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
    network = EarNet(recipe.answers, recipe.width, recipe.side)
    network.load_state_dict(torch.load(chosen, map_location="cpu", weights_only=True))
    return network.eval(), state.history


def rehearse(train: Callable[..., Any], data_dir: Path, out_dir: Path, say: Progress) -> None:
    """Before a fresh full run: the whole way with few photographs, so that a fault shows in seconds."""
    if not (out_dir / "last.pt").exists():
        say("rehearsing")
        train(data_dir, out_dir / "rehearsal", quick=True)


def logits_of(network: nn.Module, pixels: Colour) -> npt.NDArray[np.float64]:
    """Logits [n, answers] of uint8 pixels [n, 3, side, side]."""
    network.eval()
    found = []
    with torch.inference_mode(), torch.autocast(DEVICE, torch.bfloat16):
        for start in range(0, len(pixels), 64):
            given = torch.from_numpy(pixels[start : start + 64]).to(DEVICE).float()
            found.append(network(given.to(memory_format=torch.channels_last)).float().cpu().numpy())
    return np.concatenate(found).astype(np.float64)


def _run_epoch(
    state: State, squares: Sequence[Colour], pictures: Sequence[Picture], loss_of: Loss, recipe: Recipe, seed: int
) -> float:
    state.network.train()
    total = 0.0
    epoch = len(state.history)
    for step, (kinds, pixels) in enumerate(_batches(squares, pictures, recipe, seed, epoch)):
        given = torch.from_numpy(pixels).to(DEVICE).float()
        target = nn.functional.one_hot(torch.from_numpy(kinds), len(recipe.kinds)).float().to(DEVICE)
        if recipe.mixup and step % 2:
            share = float(state.mixer.beta(recipe.mixup, recipe.mixup))
            order = torch.from_numpy(state.mixer.permutation(len(kinds))).to(DEVICE)
            given = share * given + (1 - share) * given[order]
            target = share * target + (1 - share) * target[order]
        with torch.autocast(DEVICE, torch.bfloat16):
            logits = state.network(given.contiguous(memory_format=torch.channels_last))
        loss = loss_of(logits.float(), target)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise UserError(
                f"the loss became {value} in epoch {epoch + 1}, step {step + 1}: the weights are lost. Halve the "
                f"recipe's peak_rate ({recipe.peak_rate:g}) or look for damaged images, then start again"
            )
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(state.network.parameters(), 2.0)
        state.optimiser.step()
        state.schedule.step()
        state.averaged.update_parameters(state.network)
        total += value
    return total / recipe.steps


def _batches(
    squares: Sequence[Colour], pictures: Sequence[Picture], recipe: Recipe, seed: int, epoch: int
) -> Iterator[tuple[npt.NDArray[np.int64], Colour]]:
    """One epoch's batches (kind numbers, pixels), made ahead by one thread; equal for equal seed and epoch.

    The first kind of a recipe that screens gets half of each batch, other kinds share alike; within a kind every group
    counts by the root of its size, so that an ear photographed 24 times does not stand for its disease.
    """
    rng = np.random.default_rng((seed, epoch))
    strength = min(1.0, 0.3 + 0.7 * epoch / max(1.0, recipe.ramp * recipe.epochs))
    pools = [_pool(pictures, kind) for kind in recipe.kinds]
    shares = np.ones(len(pools))
    if recipe.kinds == KINDS:
        shares[0] = len(pools) - 1
    shares /= shares.sum()
    ready: queue.Queue[tuple[npt.NDArray[np.int64], Colour] | None] = queue.Queue(maxsize=4)

    def make() -> None:
        for _ in range(recipe.steps):
            kinds = rng.choice(len(pools), recipe.batch, p=shares)
            rows = [int(rng.choice(pools[kind][0], p=pools[kind][1])) for kind in kinds]
            strangers = rng.integers(0, len(squares), recipe.batch)
            made = [
                augment(squares[row], squares[stranger], recipe.side, strength, rng)
                for row, stranger in zip(rows, strangers, strict=True)
            ]
            ready.put((kinds.astype(np.int64), np.ascontiguousarray(np.stack(made).transpose(0, 3, 1, 2))))
        ready.put(None)

    threading.Thread(target=make, daemon=True).start()
    while (batch := ready.get()) is not None:
        yield batch


def _pool(pictures: Sequence[Picture], kind: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    rows = np.array([place for place, picture in enumerate(pictures) if picture.kind == kind], dtype=np.int64)
    sizes = Counter(pictures[row].group for row in rows)
    weight = np.array([sizes[pictures[row].group] ** -0.5 for row in rows])
    return rows, weight / weight.sum()
