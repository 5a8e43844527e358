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
"""From photographs that a member has not seen and its logits to the clinical metric; higher is better."""
CACHE_SIDE = 160
GROUP_POWER = 0.75
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a run may differ in besides data and seed."""

    kinds: tuple[str, ...]
    answers: int
    side: int = SIDE
    width: int = 16
    epochs: int = 24
    steps: int = 14
    batch: int = 32
    peak_rate: float = 1.5e-3
    weight_decay: float = 0.05
    mixup: float = 0.2
    average: float = 0.98
    ramp: float = 0.3
    shifts: tuple[str, ...] = CHOOSING_SHIFTS
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


@dataclass(frozen=True, slots=True)
class Learned:
    """One network for each fold, trained on the other folds, with what each answers on its own fold.

    `unseen` are logits [n, answers] under each choosing shift, in the order of the division's pooled photographs.
    """

    members: Sequence[EarNet]
    unseen: dict[str, npt.NDArray[np.float64]]
    history: Sequence[dict[str, float]]


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
) -> Learned:
    """Trains the members one after the other; what a killed run had finished is taken over.

    Raises `UserError` where the loss is lost.
    """
    members: list[EarNet] = []
    history: list[dict[str, float]] = []
    parts: dict[str, list[npt.NDArray[np.float64]]] = {name: [] for name in recipe.shifts}
    for fold, own in enumerate(division.folds):
        folder = out_dir / f"member-{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        state = State.begin(recipe, seed + fold, init)
        _learn_member(state, division, fold, recipe, loss_of, judge, folder, seed=seed + fold, say=say)
        member = EarNet(recipe.answers, recipe.width, recipe.side)
        member.load_state_dict(state.averaged.module.state_dict())
        members.append(member.eval())
        history += state.history
        for name, found in parts.items():
            found.append(logits_of(member.to(DEVICE), prepared(own, name)))
    unseen = {name: np.concatenate(found) for name, found in parts.items()}
    return Learned([member.cpu() for member in members], unseen, history)


def _learn_member(
    state: State,
    division: Division,
    fold: int,
    recipe: Recipe,
    loss_of: Loss,
    judge: Judge,
    folder: Path,
    *,
    seed: int,
    say: Progress,
) -> None:
    """Runs the epochs that are left of one member; its own fold is only looked at, for the learning curve."""
    pictures, own = division.without(fold), division.folds[fold]
    mark = hashlib.sha256(json.dumps([asdict(recipe), seed, fold, division.data_hash]).encode()).hexdigest()
    last = folder / "last.pt"
    if state.load(last, mark):
        say(f"going on after epoch {len(state.history)} of member {fold + 1}")
    if len(state.history) == recipe.epochs:
        return
    squares = [resize(field(photograph), CACHE_SIDE) for photograph in colours(one.path for one in pictures)]
    view = prepared(own, "as delivered")
    while (epoch := len(state.history)) < recipe.epochs:
        began = time.monotonic()
        row = {"member": float(fold), "epoch": float(epoch)}
        row["loss"] = _run_epoch(state, squares, pictures, loss_of, recipe, seed)
        row["judged"] = judge(own, logits_of(state.averaged.module, view))
        row["seconds"] = time.monotonic() - began
        state.history.append(row)
        state.save(last, mark)
        (folder / "history.json").write_text(json.dumps(state.history, indent=1) + "\n", encoding="utf-8")
        done, whole = fold * recipe.epochs + epoch + 1, len(division.folds) * recipe.epochs
        say(f"epoch {done} of {whole}: " + ", ".join(f"{key} {value:.4g}" for key, value in row.items()))


def rehearse(train: Callable[..., Any], data_dir: Path, out_dir: Path, say: Progress) -> None:
    """Before a fresh full run: the whole way with few photographs, so that a fault shows in seconds."""
    if not (out_dir / "member-0" / "last.pt").exists():
        say("rehearsing")
        train(data_dir, out_dir / "rehearsal", quick=True)


def logits_of(network: nn.Module, pixels: Colour) -> npt.NDArray[np.float64]:
    """Logits [n, answers] of uint8 pixels [n, 3, side, side]."""
    network.eval()
    found = []
    with torch.inference_mode():
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
        with torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda"):  # costs time on a processor
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

    The first kind of a recipe that screens gets half of each batch, other kinds share alike; within a kind a
    photograph of a large group counts less, so that an ear photographed 24 times does not stand for its disease.
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
    weight = np.array([sizes[pictures[row].group] ** -GROUP_POWER for row in rows])
    return rows, weight / weight.sum()
