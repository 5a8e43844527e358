"""`clinstream models` with a database: the state of each version comes from the release log."""

import asyncio
import json

import pytest
import typer
from typer.testing import CliRunner

import triton_models
from adapters import settings as configuration
from adapters.clock import SystemClock
from adapters.database import Database
from adapters.settings import Settings
from clinstream.commands import models


@pytest.fixture
def log(fresh_database: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A release log in which each model's own version was released as the first."""

    async def release() -> None:
        database = Database.open(fresh_database, SystemClock())
        try:
            await database.ensure_starters([model.card for model in triton_models.discover().values()])
        finally:
            await database.close()

    asyncio.run(release())
    monkeypatch.setattr(configuration, "load", lambda: fresh_database)
    return fresh_database


def ask(*arguments: str) -> str:
    """What the command prints; the test fails when it fails."""
    app = typer.Typer()
    models.register(app)
    done = CliRunner().invoke(app, ["models", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.usefixtures("log")
def test_the_list_shows_the_state_of_each_models_version() -> None:
    """S3, S11: who asks what is served gets the release log's answer."""
    found = {row["name"]: row["state"] for row in json.loads(ask("list", "--json"))}
    assert found == dict.fromkeys(triton_models.discover(), "PROMOTED")
    assert "not running" not in ask("list")


@pytest.mark.usefixtures("log")
def test_a_model_is_shown_with_its_decisions_oldest_first() -> None:
    found = json.loads(ask("show", "icu_mortality", "--json"))
    card = triton_models.discover()["icu_mortality"].card
    assert [(row["version"], row["state"]) for row in found["releases"]][-1] == (card.version, "PROMOTED")
    assert found["releases"][-1]["at"].endswith("+00:00")
    assert "PROMOTED" in ask("show", "icu_mortality")
