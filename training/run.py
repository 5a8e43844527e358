"""One training run: finds the model, trains it into a folder of its own; gates and releases are not its matter."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import triton_models
from schemas.errors import UserError
from triton_models.trained import TrainedModel

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """What to train: `data` a folder (or file) that the model's own training understands, `out` a folder to be made."""

    model: str
    data: Path
    out: Path
    quick: bool = False
    seed: int | None = None
    init: Path | None = None


def run(order: Order, say: Say | None = None) -> TrainedModel:
    """Trains as ordered and returns the finished run; `say` hears one line a step.

    Nothing that is served changes: the candidate lies in `order.out` until somebody releases it. Raises UserError for
    an unknown model, data that is not there, or data that the training refuses, with what to do about it.
    """
    found = triton_models.discover()
    if order.model not in found:
        raise UserError(f"There is no model {order.model}; choose from: {', '.join(found)}.")
    for path in [order.data, *([order.init] if order.init else [])]:
        if not path.exists():
            raise UserError(f"{path} does not exist.")
    if (order.out / "metadata.json").exists():
        raise UserError(f"{order.out} holds a finished run already; name another folder with --out.")
    seeded = {} if order.seed is None else {"seed": order.seed}
    trained: TrainedModel = found[order.model].train(
        order.data, order.out, quick=order.quick, init=order.init, progress=say, **seeded
    )
    return trained
