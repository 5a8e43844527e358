"""The training loop of both otoscope models: averaged weights, checkpoints; imports torch.

What is learned (loss, classes, judge) comes from a model's own train.py.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from triton_models._otoscopy.collection import Division, Picture, colours
from triton_models._otoscopy.network import EarNet
from triton_models._otoscopy.recipe import Recipe, batches
from triton_models._otoscopy.scoring import prepared
from triton_models._otoscopy.view import Colour, field, resize
from triton_models._vision import state as run
from triton_models._vision.state import DEVICE, Pace, Progress, mark_of
from triton_models._vision.trunk import start_from

Loss = Callable[[Tensor, Tensor], Tensor]
Judge = Callable[[Sequence[Picture], npt.NDArray[np.float64]], float]
"""From photographs that a member has not seen and its logits to the clinical metric; higher is better."""
CACHE_SIDE = 160
State = run.State[EarNet]


def begin(recipe: Recipe, seed: int, init: Path | None) -> State:
    """A fresh run; `init` names domain weights to start from: its trunk then learns at a fifth of the rate."""
    torch.manual_seed(seed)
    network = EarNet(recipe.answers, recipe.width, recipe.side)
    if init is not None:
        start_from(network, init)
    steps = recipe.steps * recipe.epochs
    pace = Pace(recipe.peak_rate, recipe.weight_decay, recipe.average, steps, rise=0.2, divisor=20.0)
    heads = [*network.head.parameters(), *network.attention.parameters()]
    return run.State.begin(network, pace, seed, [(network.trunk.parameters(), 0.2 if init else 1.0), (heads, 1.0)])


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
        state = begin(recipe, seed + fold, init)
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
    mark = mark_of(asdict(recipe), seed, fold, division.data_hash)
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
    for step, (kinds, pixels) in enumerate(batches(squares, pictures, recipe, seed, epoch)):
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
        total += state.descend(loss, step)
    return total / recipe.steps
