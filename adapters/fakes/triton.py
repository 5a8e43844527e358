"""A model server in memory that sits the same exam as the real one; tests take it away, fill it up or make it hang."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from adapters.repository import BATCH_SIZE, names
from schemas.card import ModelCard
from schemas.errors import InvalidForModel, Overloaded, ServerDown

Tensor = npt.NDArray[Any]
Run = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]


@dataclass(slots=True)
class _Served:
    card: ModelCard
    run: Run
    loaded: bool = False


@dataclass(slots=True)
class FakeTriton:
    """Add models with `serve`, load them with `reconcile`; `calls` keeps (model, rows, priority) of each request.

    `away`: nothing answers. `hanging`: requests wait for their deadline. `full`: the queue is full.
    """

    away: bool = False
    hanging: bool = False
    full: bool = False
    least_s: float = 10.0
    calls: list[tuple[str, int, int]] = field(default_factory=list)
    _models: dict[str, _Served] = field(default_factory=dict)

    def serve(self, card: ModelCard, run: Run) -> list[str]:
        """Puts a card's version into the repository, not loaded yet; `run` maps inputs to outputs, row by row."""
        for name in names(card):
            self._models[name] = _Served(card, run)
        return names(card)

    def restart(self) -> None:
        """What SIGKILL and a start do: every model is gone until `reconcile`."""
        for model in self._models.values():
            model.loaded = False

    async def reconcile(self, wanted: Sequence[str]) -> list[str]:
        """Loads what is missing and returns its names; raises ServerDown for a name that is not in the repository."""
        self._reach()
        unknown = [name for name in wanted if name not in self._models]
        if unknown:
            raise ServerDown(f"{', '.join(unknown)} could not be loaded")
        missing = [name for name in wanted if not self._models[name].loaded]
        for name in missing:
            self._models[name].loaded = True
        return missing

    async def loaded(self) -> set[str]:
        """Names of the models that are ready."""
        self._reach()
        return {name for name, model in self._models.items() if model.loaded}

    async def unload(self, model: str) -> None:
        """Unloads one model."""
        self._reach()
        if model in self._models:
            self._models[model].loaded = False

    async def probe(self) -> None:
        """Raises ServerDown when away or hanging."""
        self._reach()
        if self.hanging:
            raise ServerDown("Triton does not answer")

    async def ready(self, model: str) -> bool:
        """Whether `model` would answer now."""
        known = self._models.get(model)
        return known is not None and known.loaded and not (self.away or self.hanging)

    def deadline_s(self, model: str) -> float:
        """Always the least."""
        return self.least_s

    async def infer(
        self, model: str, inputs: Mapping[str, Tensor], *, priority: int, deadline_s: float
    ) -> dict[str, Tensor]:
        """Runs the model's function after the checks that Triton makes; see `adapters.triton.Inference`."""
        self._reach()
        if self.hanging:
            await asyncio.sleep(deadline_s)
            raise ServerDown(f"{model}: Deadline Exceeded")
        known = self._models.get(model)
        if known is None or not known.loaded:
            raise ServerDown(f"{model}: unknown or not loaded")
        if self.full:
            raise Overloaded(f"{model}: the queue is full")
        rows = _check(known.card, inputs)
        self.calls.append((model, rows, priority))
        await asyncio.sleep(0)
        outputs = known.run(inputs)
        return {**outputs, BATCH_SIZE: np.full((rows, 1), rows, dtype=np.int32)}

    async def close(self) -> None:
        """Nothing to close."""

    def _reach(self) -> None:
        if self.away:
            raise ServerDown("Triton cannot be reached")


def _check(card: ModelCard, inputs: Mapping[str, Tensor]) -> int:
    """The number of rows; raises InvalidForModel for what the card does not take."""
    wanted = {spec.name: spec for spec in card.inputs}
    if set(inputs) != set(wanted):
        raise InvalidForModel(f"{card.name} takes the inputs {', '.join(wanted)}")
    rows = {len(tensor) for tensor in inputs.values()}
    if len(rows) != 1 or not 1 <= min(rows) <= card.serving.max_batch_size:
        raise InvalidForModel(f"{card.name} takes 1 to {card.serving.max_batch_size} rows")
    for name, tensor in inputs.items():
        spec = wanted[name]
        shape = tensor.shape[1:]
        fits = len(shape) == len(spec.shape) and all(w in (-1, s) for s, w in zip(shape, spec.shape, strict=True))
        if tensor.dtype != np.dtype(spec.dtype) or not fits:
            raise InvalidForModel(f"{name} must be {spec.dtype} {list(spec.shape)}")
    return min(rows)
