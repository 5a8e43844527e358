"""A real Triton for contract and integration tests, with the models of this repository; skips where it cannot run."""

from collections.abc import Sequence
from pathlib import Path

import pytest

import triton_models
from adapters import repository, settings
from clinstream.embedded import setup
from clinstream.evaluation.server import LoneTriton
from schemas.errors import UserError


def lone(folder: Path) -> LoneTriton:
    """A server that is not started yet; skips the test when Triton cannot be installed on this machine."""
    cache = settings.load().cache
    try:
        setup.bring(cache, {"triton"}, lambda sentence: None)
        return LoneTriton(folder, cache)
    except UserError as reason:
        pytest.skip(f"no Triton on this machine: {reason}")


def entries(*tasks: str) -> Sequence[repository.Entry]:
    """What the repository needs of the named models."""
    found = triton_models.discover()
    return [repository.Entry(found[task].card, found[task].weights_path) for task in tasks]
