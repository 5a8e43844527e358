"""What a run of an otoscope model may differ in, and the balanced batches that follow; its helper imports torch."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from triton_models._otoscopy.augment import augment
from triton_models._otoscopy.collection import KINDS, Picture
from triton_models._otoscopy.scoring import CHOOSING_SHIFTS
from triton_models._otoscopy.view import SIDE, Colour
from triton_models._vision.state import ahead

GROUP_POWER = 0.75
Batch = tuple[npt.NDArray[np.int64], Colour]


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


def batches(
    squares: Sequence[Colour], pictures: Sequence[Picture], recipe: Recipe, seed: int, epoch: int
) -> Iterator[Batch]:
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

    def make() -> Iterator[Batch]:
        for _ in range(recipe.steps):
            kinds = rng.choice(len(pools), recipe.batch, p=shares)
            rows = [int(rng.choice(pools[kind][0], p=pools[kind][1])) for kind in kinds]
            strangers = rng.integers(0, len(squares), recipe.batch)
            made = [
                augment(squares[row], squares[stranger], recipe.side, strength, rng)
                for row, stranger in zip(rows, strangers, strict=True)
            ]
            yield kinds.astype(np.int64), np.ascontiguousarray(np.stack(made).transpose(0, 3, 1, 2))

    return ahead(make(), 4)


def _pool(pictures: Sequence[Picture], kind: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    rows = np.array([place for place, picture in enumerate(pictures) if picture.kind == kind], dtype=np.int64)
    sizes = Counter(pictures[row].group for row in rows)
    weight = np.array([sizes[pictures[row].group] ** -GROUP_POWER for row in rows])
    return rows, weight / weight.sum()
