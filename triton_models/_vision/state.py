"""A training run between two epochs, with its checkpoint and its step; imports torch, so only training comes here.

What is learned (network, loss, batches, when to stop) is each model's own.
"""

import hashlib
import json
import math
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from schemas.errors import UserError

Progress = Callable[[str], None]
Net = TypeVar("Net", bound=nn.Module)
Batch = TypeVar("Batch")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a run learns: its rate rises to `peak_rate` over the share `rise` of its steps, then falls.

    It starts at `peak_rate / divisor`; `average` is what the averaged weights keep of themselves at each step.
    """

    peak_rate: float
    weight_decay: float
    average: float
    steps: int
    rise: float
    divisor: float


@dataclass(slots=True)
class State(Generic[Net]):
    """A run between two epochs, whole: written after each, so that a killed run goes on where it was."""

    network: Net
    averaged: Any
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    mixer: np.random.Generator
    history: list[dict[str, float]]
    peak_rate: float

    @classmethod
    def begin(
        cls,
        network: Net,
        pace: Pace,
        seed: int,
        groups: Sequence[tuple[Iterable[nn.Parameter], float]] = (),
    ) -> "State[Net]":
        """A fresh run; `groups` are parameters with their share of the rate, all alike unless given."""
        network = network.to(DEVICE).to(memory_format=torch.channels_last)
        groups = groups or [(network.parameters(), 1.0)]
        optimiser = torch.optim.AdamW(
            [{"params": list(parameters)} for parameters, _ in groups], pace.peak_rate, weight_decay=pace.weight_decay
        )
        return cls(
            network=network,
            averaged=torch.optim.swa_utils.AveragedModel(
                network,
                multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(pace.average),  # type: ignore[no-untyped-call]
                use_buffers=True,
            ),
            optimiser=optimiser,
            schedule=torch.optim.lr_scheduler.OneCycleLR(
                optimiser,
                [pace.peak_rate * share for _, share in groups],
                total_steps=pace.steps,
                pct_start=pace.rise,
                div_factor=pace.divisor,
            ),
            mixer=np.random.default_rng((seed, 7)),
            history=[],
            peak_rate=pace.peak_rate,
        )

    def descend(self, loss: Tensor, step: int) -> float:
        """One step down `loss`, the `step`th (from 0) of its epoch; returns the loss.

        Raises `UserError` with its cause and what to try where the loss is not finite.
        """
        value = float(loss.detach())
        if not math.isfinite(value):
            raise UserError(
                f"the loss became {value} in epoch {len(self.history) + 1}, step {step + 1}: the weights are lost. "
                f"Halve the recipe's peak_rate ({self.peak_rate:g}) or look for damaged images, then start again"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.network.parameters(), 2.0)
        self.optimiser.step()
        self.schedule.step()
        self.averaged.update_parameters(self.network)
        return value

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
        if "mixer" in kept:  # a run that mixes no images may have kept none
            self.mixer.bit_generator.state = kept["mixer"]
        torch.set_rng_state(kept["dice"].cpu())
        self.history = kept["history"]
        return True


def mark_of(*decisions: Any) -> str:
    """The name of what a checkpoint belongs to: sha256 over recipe, seed, data and what else decides a run."""
    return hashlib.sha256(json.dumps(decisions).encode()).hexdigest()


def ahead(made: Iterator[Batch], most: int) -> Iterator[Batch]:
    """What `made` gives, in its order, made by one thread that is up to `most` batches ahead."""
    ready: queue.Queue[Batch | None] = queue.Queue(maxsize=most)

    def make() -> None:
        for batch in made:
            ready.put(batch)
        ready.put(None)

    threading.Thread(target=make, daemon=True).start()
    while (batch := ready.get()) is not None:
        yield batch
