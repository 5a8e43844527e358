"""A model folder dropped into a copy of the tree is a model everywhere, with no other edit (S3, S6, ME10)."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import triton_models
from adapters import repository
from adapters.clock import SystemClock
from adapters.releases import Choice
from adapters.settings import TritonSettings
from adapters.triton import TritonClient
from consumers.ask import Ask
from schemas.card import ModelCard
from tests.support import toy_model
from triton_models import Model

TREE = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(
    ".venv", ".git", ".clinstream", "__pycache__", ".*_cache", "*.egg-info", ".hypothesis", "runs", "mlruns"
)
ASK_EVERYWHERE = """
import json
import triton_models
from adapters.settings import Settings
from clinstream.contracts import asyncapi
from consumers.signals import Signals
from schemas import access, topics

models = triton_models.discover()
signals = Signals(models, database=None, ask=None, clock=None)
print(json.dumps({
    "here": triton_models.__file__,
    "topics": [row.name for row in topics.topics(models)],
    "asked": [model.card.name for model in signals._models],
    "system": list(asyncapi.document("system", models)["channels"]),
    "subscriber": list(asyncapi.document("subscriber", models)["channels"]),
    "subscribers may read": [r.name for r in access.rules(models) if r.principal == "subscribers"],
}))
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with the toy's folder dropped in."""
    copy = tmp_path_factory.mktemp("tree") / "clinstream"
    shutil.copytree(TREE, copy, ignore=LEFT_OUT, symlinks=True)
    toy_model.write(copy / "triton_models")
    return copy


def python(tree: Path, *arguments: str) -> str:
    """What this interpreter prints with the copy's packages in place of the installed ones."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_the_toy_gets_topics_channels_access_and_is_asked(tree: Path) -> None:
    """S6, ME10: topics, AsyncAPI channels, access rules and the step that asks it follow from the folder."""
    found = json.loads(python(tree, "-c", ASK_EVERYWHERE))
    assert Path(found["here"]).is_relative_to(tree)
    own = {f"results.{toy_model.NAME}", f"simulated.{toy_model.NAME}"}
    for what in ("topics", "system", "subscriber", "subscribers may read"):
        assert own <= set(found[what]), what
    assert toy_model.NAME in found["asked"]


def test_the_command_line_shows_the_toy_and_plays_it(tree: Path) -> None:
    """ME10: no list of models is written anywhere."""
    shown = json.loads(python(tree, "-m", "clinstream", "models", "show", toy_model.NAME, "--json"))
    assert shown["served_as"] == [f"{toy_model.NAME}-0_1_0"]
    played = python(tree, "-m", "clinstream", "contract", "play", "--task", toy_model.NAME, "--dry", "--expect")
    assert {row["label"] for row in json.loads(played).values()} == {"alarmed"}


def test_the_generic_contract_tests_hold_for_the_toy(tree: Path) -> None:
    """S3: the same tests as for every packaged model, in the copy, unchanged; golden texts are a release's matter."""
    printed = python(
        tree, "-m", "pytest", "-q", "tests/contract/test_every_model.py", "-k", f"{toy_model.NAME} and not golden"
    )
    assert "5 passed" in printed


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Model]:
    """The toy in this process; forgotten again afterwards."""
    known, path = set(sys.modules), list(triton_models.__path__)
    toy_model.write(tmp_path)
    yield triton_models.discover(tmp_path)[toy_model.NAME]
    triton_models.__path__[:] = path
    for name in set(sys.modules) - known:
        if name.startswith("triton_models."):
            del sys.modules[name]


class _Serving:
    """A release log that knows the toy's one version."""

    def choose(self, task: str, subject_id: str) -> Choice:
        """Everybody is answered by it."""
        return Choice(version="0.1.0", arm="serving", epoch=1)

    def card(self, card: ModelCard, version: str) -> ModelCard:
        """The folder's own."""
        return card


async def test_the_toy_is_served_by_triton_and_asked_as_every_model_is(triton: TritonSettings, toy: Model) -> None:
    """S3: generated configuration, loaded by a real server, asked the way the steps ask."""
    names = repository.build(triton, [repository.Entry(toy.card, toy.weights_path)])
    async with TritonClient(triton) as client:
        assert await client.reconcile(names) == names
        ask = Ask(client, _Serving(), SystemClock())
        rows = [toy.prepare({"HR_last": rate, "Temp_last": 37.0}) for rate in (60.0, 99.9, 160.0)]
        told = await ask(toy, ["sub-1", "sub-2", "sub-3"], rows)
        await client.unload(names[0])
    assert [(each.finding.label, each.finding.abstained) for each in told] == [
        ("calm", False),
        ("calm", True),
        ("alarmed", False),
    ]
    assert np.isclose(told[2].finding.score, 1 / (1 + np.exp(-6.0)), atol=1e-4)
