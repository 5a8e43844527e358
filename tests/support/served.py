"""An installation put together from the session's servers, with the packaged models served; none is started here."""

from pathlib import Path

import numpy as np
from pydantic import SecretStr

import triton_models
from adapters import repository, triton
from adapters.clock import SystemClock
from adapters.database import Database
from adapters.settings import Settings, TritonSettings
from clinstream.benches import load


def together(kafka: Settings | None, database: Settings, served: TritonSettings, home: Path) -> Settings:
    """Settings that point at these servers, with an object store in `home`."""
    update = {
        "home": home,
        "store_url": (home / "store").as_uri(),
        "database": database.database,
        "triton": served,
        "pseudonym_key": SecretStr("5e" * 32),
    }
    if kafka is not None:
        update["kafka"] = kafka.kafka
    return database.model_copy(update=update)


async def serve_models(settings: Settings) -> None:
    """Loads the packaged models and promotes them in the database; safe to repeat."""
    models = triton_models.discover().values()
    names = repository.build(settings.triton, [repository.Entry(model.card, model.weights_path) for model in models])
    await triton.reconcile(settings.triton, names)
    database = Database.open(settings, SystemClock())
    try:
        await database.ensure_starters([model.card for model in models])
    finally:
        await database.close()


def pictures(count: int = 2) -> list[np.ndarray]:
    """Packaged chest radiographs: the quality gate lets nothing else through."""
    return load.pictures(None, side=256)[:count]
