"""Everything between servers and services, in order: migrations, release rows, models, topics, access rules.

A process of its own (`python -m clinstream.bootstrap_stack`), so that the supervisor stays small. Each part may run
again at any time and then changes nothing.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

import triton_models
from adapters import settings as settings_room
from adapters.clock import Clock, SystemClock
from adapters.settings import Settings
from schemas.errors import ClinstreamError, Unavailable, UserError
from triton_models import Model, packaged

if TYPE_CHECKING:
    from adapters.repository import Entry

# The other rooms of adapters are imported where they are used: each brings a client library of its own along.

PATIENCE_S = 100.0
PAUSE_S = 0.3


def prepare_stack(settings: Settings, clock: Clock) -> None:
    """Brings the servers to the state that our processes expect, waiting for each to be up.

    Raises ClinstreamError saying what failed, Unavailable when a server is still away after `PATIENCE_S`.
    """
    give_up = clock.monotonic() + PATIENCE_S
    for prepare in STEPS.values():
        while True:
            try:
                prepare(settings)
                break
            except Unavailable:
                # Started beside the servers, which may take a while; theirs is another failure to report.
                if clock.monotonic() > give_up:
                    raise
            asyncio.run(clock.sleep(PAUSE_S))


def migrate(settings: Settings) -> None:
    """Brings the database's schema to the newest revision; forward only, under an advisory lock."""
    from adapters import database

    database.migrate(settings)


def make_topics(settings: Settings) -> None:
    """Makes or completes every topic of the table, two of results for each model."""
    from adapters import topics_admin

    topics_admin.ensure_topics(settings, _models())


def give_access(settings: Settings) -> None:
    """Makes the brokers' access rules those of the topics table, where this account is told to manage them."""
    from adapters import access
    from schemas.access import accounts, rules

    if settings.kafka.manage_access:
        access.ensure_access(settings, rules(_models()), accounts())


def write_starters(settings: Settings) -> None:
    """Promotes the packaged version of each model that nobody has decided about yet."""
    from adapters.database import Database

    async def write() -> None:
        database = Database.open(settings, SystemClock())
        try:
            models = _models()
            why = {task: packaged.reason(model) for task, model in models.items()}
            await database.ensure_starters([model.card for model in models.values()], why)
        finally:
            await database.close()

    asyncio.run(write())


def load_models(settings: Settings) -> None:
    """Writes the model repository and has Triton load what is missing of it: after every start of the server.

    That is what the release log wants: the versions that answer and the one before, packaged or trained. Raises
    Conflict for packaged weights that are not those that were measured.
    """
    from adapters import repository, triton

    entries = asyncio.run(_entries(settings))
    names = repository.build(settings.triton, entries)
    asyncio.run(triton.reconcile(settings.triton, names))


async def _entries(settings: Settings) -> "list[Entry]":
    from adapters import pixels, versions
    from adapters.database import Database
    from training import release

    models = _models()
    database = Database.open(settings, SystemClock())
    store = pixels.open_store(settings.store_url, settings.store)
    try:
        log, trained = await database.releases(), await database.versions()
        wanted = []
        for task, model in models.items():
            numbers = release.to_keep_loaded(release.standing(log, task)) or [model.card.version]
            wanted += [(task, number) for number in numbers]
        own = [(model.card, packaged.weights_for(model, wanted)) for model in models.values()]
        return await versions.entries(own, trained, wanted, store, settings.home / "versions")
    finally:
        await store.close()
        await database.close()


# Kafka comes last because it takes longest to start.
STEPS: dict[str, Callable[[Settings], None]] = {
    "migrate": migrate,
    "starters": write_starters,
    "reconcile": load_models,
    "topics": make_topics,
    "access": give_access,
}


def _models() -> dict[str, Model]:
    return triton_models.discover()


def main(only: Annotated[str, typer.Option(help="Just this step.")] = "") -> None:
    """Runs all steps, or one; a failure is one sentence and exit 1."""
    try:
        settings = settings_room.load()
        if not only:
            return prepare_stack(settings, SystemClock())
        if only not in STEPS:
            raise UserError(f"There is no step {only}; choose from: {', '.join(STEPS)}.")
        STEPS[only](settings)
    except ClinstreamError as failure:
        sys.stderr.write(f"{type(failure).__name__}: {failure}\n")
        raise SystemExit(1) from None
    return None


if __name__ == "__main__":
    typer.run(main)
