"""The models, one folder each, found by looking and checked before use; serving and training live elsewhere."""

import importlib
from collections.abc import Mapping
from pathlib import Path

from schemas.card import FollowUp
from schemas.errors import UserError
from triton_models.model import Model, load

__all__ = ["Model", "chains", "discover"]

HOME = Path(__file__).parent


def discover(folder: Path = HOME) -> dict[str, Model]:
    """Every model folder under `folder`, by the card's name, in alphabetical order.

    A folder is a model when it holds Python files; one that lacks a part is an error that names it (UserError), never
    skipped. A `folder` outside this package (a test's, a user's own) is made importable as `triton_models.<name>`.
    """
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder} to look for models in.")
    if str(folder) not in __path__:
        __path__.append(str(folder))
        importlib.invalidate_caches()
    found = {}
    for home in sorted(path for path in folder.iterdir() if _is_model(path)):
        found[home.name] = load(f"{__name__}.{home.name}", home)
    return found


def chains(models: Mapping[str, Model]) -> dict[str, FollowUp]:
    """The follow-up of each task that names one which is installed; a card without its second stage stands alone."""
    named = {name: model.card.follow_up for name, model in models.items()}
    return {name: follow_up for name, follow_up in named.items() if follow_up and follow_up.task in models}


def _is_model(path: Path) -> bool:
    return path.is_dir() and path.name.isidentifier() and not path.name.startswith("_") and any(path.glob("*.py"))
