"""Moves of versions that a person asks for: ordered here, made by the release manager, awaited; and the runs before."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

from rich.console import Console
from rich.table import Table

from adapters import pixels
from adapters import settings as configuration
from adapters.clock import SystemClock
from adapters.database import Database, Order, Run, Version
from clinstream import catalogue
from schemas import ids
from schemas.errors import UserError
from schemas.events import RetrainRequested
from triton_models.candidate import card_of

T = TypeVar("T")
PATIENCE_S = 120.0
LOOK_S = 0.2
BY_HAND = -1
"""The window of a request that a person makes."""


def order(task: str, version: str, event: str, *, share: float, by: str, why: str, as_json: bool) -> None:
    """Orders a move and waits until it is made; raises UserError with the reason when it is refused."""
    catalogue.find(task)

    async def work(database: Database) -> Order:
        filed = await database.order(Order(task, version, event, share, by, why))
        for _ in range(int(PATIENCE_S / LOOK_S)):
            found = await database.order_by_id(filed.id)
            if found is not None and found.done_at is not None:
                return found
            await asyncio.sleep(LOOK_S)
        raise UserError(
            f"The release manager has not made the move within {PATIENCE_S:.0f} s; it stays ordered. "
            "`clinstream status` shows whether the manager runs."
        )

    done = _with_database(work)
    if done.refused:
        raise UserError(done.refused)
    _say({"model": task, "version": version, "event": event, "by": by}, f"{task}: {event} done.", as_json)


def approve(task: str, version: str, *, by: str, why: str, as_json: bool) -> None:
    """Notes a person's approval of a trained version."""
    catalogue.find(task)
    done = _with_database(lambda database: database.approve_version(task, version, by_whom=by, why=why))
    if not done:
        raise UserError(
            f"{task} {version} is not a trained version that waits for approval; see `clinstream models list`."
        )
    _say({"model": task, "version": version, "approved_by": by}, f"{task} {version} is approved by {by}.", as_json)


def register(task: str, folder: Path, *, by: str, why: str, as_json: bool) -> None:
    """Registers a version from a finished run's folder: its ONNX file and metadata.json."""
    model = catalogue.find(task)
    weights = folder / model.card.weights
    if not weights.is_file():
        raise UserError(f"{folder} holds no {model.card.weights}; name the folder of a finished run.")
    card = card_of(model.card, folder / "metadata.json")
    data = weights.read_bytes()
    digest = ids.sha256_hex(data)
    uri = pixels.blob_uri("weights", digest)
    metadata = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    version = Version(
        task=task,
        version=card.version,
        request_id=None,
        weights_uri=uri,
        weights_sha256=digest,
        operating_point=asdict(card.operating_point) if card.operating_point else None,
        abstention_band=card.abstention_band,
        preprocessing_version=card.preprocessing_version,
        figures={"run": metadata["figures"]},
        registry_uri="",
        registered_at=datetime.now(UTC),
    )

    async def work(database: Database) -> bool:
        known = configuration.load()
        store = pixels.open_store(known.store_url, known.store)
        try:
            await store.put(uri, data, durable=True)
        finally:
            await store.close()
        return await database.add_version(version, by_whom=by, why=why)

    if not _with_database(work):
        raise UserError(f"{task} {card.version} is registered already; a version is never changed.")
    _say({"model": task, "version": card.version}, f"{task} {card.version} is registered.", as_json)


def retrain(task: str, *, why: str, as_json: bool) -> None:
    """Asks for a training run, as a full window of corrections would."""
    catalogue.find(task)
    asked = RetrainRequested(
        request_id=uuid4(), task=task, window=BY_HAND, corrections=0, reason=why, requested_at=datetime.now(UTC)
    )
    _with_database(lambda database: database.ask_for_training(asked))
    _say({"model": task, "request_id": str(asked.request_id)}, "Asked for; `clinstream models runs` shows it.", as_json)


def show_runs(limit: int, *, as_json: bool) -> None:
    """Prints the newest runs, and how far each task is from its next."""

    async def read(database: Database) -> tuple[list[Run], list[tuple[str, int, int]]]:
        return await database.runs(limit), await database.retrain_windows()

    found, windows = _with_database(read)
    if as_json:
        print(json.dumps([_plain(asdict(run)) for run in found]))
        return
    table = Table("asked for", "model", "why", "state", "stage", "version", "outcome")
    for run in found:
        at = f"{run.requested_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(at, run.task, run.reason, run.state, run.stage, run.version or "-", run.why or "-")
    console = Console(highlight=False)
    console.print(table)
    for task, corrections, window in windows:
        console.print(f"{task}: {corrections} corrections in window {window}")


def _with_database(work: Callable[[Database], Awaitable[T]]) -> T:
    async def run() -> T:
        database = Database.open(configuration.load(), SystemClock())
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(run())


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value) if isinstance(value, UUID | datetime) else value for name, value in row.items()}


def _say(found: dict[str, Any], sentence: str, as_json: bool) -> None:
    print(json.dumps(found) if as_json else sentence)
