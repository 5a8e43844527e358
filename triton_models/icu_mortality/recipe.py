"""What a training run of `icu_mortality` may differ in, and reading it from a file beside the rows; no torch."""

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from schemas.errors import UserError

FILE = "recipe.json"
LEAST_FOLDS, MOST_FOLDS = 3, 10  # a teacher of two folds needs a third to be grown on


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a run may differ in besides its rows and seed.

    `noise` is in standard deviations of a scaled feature. `teacher` is the share of a training target that comes from
    the risk that `teachers` give the row (`teacher.risks`); the rest is the label. `ramps` is into how many pieces each
    feature is cut besides (`scaling`). The development rows are shared out in `folds`, and `members` networks, which
    differ in their seed alone, are stopped by each fold and trained on the others; with no folds they are trained on
    the training rows and stopped by the validation rows (`ensemble`). All are served as one graph that averages their
    logits. `share` is the share of the training rows that is used.
    """

    sizes: tuple[int, ...] = (128, 64, 32)
    dropout: tuple[float, ...] = (0.3, 0.2, 0.2)
    l2: float = 1e-3
    rate: float = 1e-3
    batch: int = 32
    epochs: int = 100
    patience: int = 15
    noise: float = 0.02
    class_weights: bool = True
    teacher: float = 0.7
    teachers: tuple[str, ...] = ("boosted", "forest")
    ramps: int = 3
    folds: int = 5
    members: int = 1
    share: float = 1.0

    @property
    def networks(self) -> int:
        """How many networks are served together."""
        return self.members * max(1, self.folds)

    def rehearsal(self) -> "Recipe":
        """The same through every step, but three epochs, and no more networks than that needs: figures say nothing."""
        members = min(self.members, 1 if self.folds else 2)
        return replace(self, epochs=min(self.epochs, 3), folds=min(self.folds, LEAST_FOLDS), members=members)


def read(data: Path) -> Recipe:
    """The usual recipe with what `recipe.json` in the folder `data` changes, if there is one.

    Raises UserError naming a field that does not exist, or a value of another kind than the field's.
    """
    path = data / FILE
    if not path.is_file():
        return Recipe()
    try:
        changes = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    if not isinstance(changes, dict):
        raise UserError(f"{path} must be one JSON object of recipe fields.")
    usual = Recipe()
    names = [field.name for field in fields(usual)]
    for name in changes:
        if name not in names:
            raise UserError(f"{path}: there is no {name!r} in a recipe; choose from: {', '.join(names)}.")
    chosen = replace(usual, **{name: _alike(path, name, getattr(usual, name), changes[name]) for name in changes})
    if chosen.members < 1 or not 0 < chosen.share <= 1:
        raise UserError(f"{path}: members must be at least 1, share above 0 and at most 1.")
    if chosen.folds != 0 and not LEAST_FOLDS <= chosen.folds <= MOST_FOLDS:
        raise UserError(f"{path}: folds must be 0 (stopped by validation rows) or {LEAST_FOLDS} to {MOST_FOLDS}.")
    return chosen


def _alike(path: Path, name: str, usual: Any, value: Any) -> Any:
    """`value` as the kind that `usual` is; a list becomes a tuple, a whole number may stand for a fraction."""
    if isinstance(usual, tuple) and isinstance(value, list) and value:
        return tuple(_alike(path, name, usual[0], item) for item in value)
    if isinstance(usual, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(usual):
        raise UserError(f"{path}: {name} must be a {type(usual).__name__}.")
    return value
