"""When the release manager loads models that a server lacks (S8): not while whoever started the server still does."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from adapters.database import Order, Release, State
from adapters.fakes.blobs import FakeBlobs
from adapters.fakes.clock import FakeClock
from adapters.fakes.database import FakeDatabase
from adapters.fakes.triton import FakeTriton
from adapters.settings import Settings, TritonSettings
from training.manager import PATIENCE_S, Manager
from triton_models import discover


class Book(FakeDatabase):
    """A release log without waiting moves."""

    async def open_orders(self) -> list[Order]:
        return []

    async def end_order(self, number: int, refused: str = "") -> None:
        raise AssertionError("there are no orders")

    async def order(self, wanted: Order) -> Order:
        raise AssertionError("nobody orders anything")

    async def move_versions(self, task: str, rows: Sequence[tuple[str, State, float]], **by: str) -> list[Release]:
        raise AssertionError("there are no orders")


class Asked(FakeTriton):
    """Keeps when it was asked to load."""

    clock: FakeClock
    when: list[float]

    async def reconcile(self, wanted: Sequence[str]) -> list[str]:
        self.when.append(self.clock.monotonic())
        return await super().reconcile(wanted)


async def at_once(work: Callable[..., Any], *given: Any) -> Any:
    """In place of a thread, which this clock does not wait for."""
    return work(*given)


async def test_a_server_that_comes_back_has_its_time_to_load_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was lacking before it went away does not count against it."""
    monkeypatch.setattr(asyncio, "to_thread", at_once)
    clock = FakeClock()
    database, servers = Book(clock), Asked()
    servers.clock, servers.when = clock, []
    model = discover()["icu_mortality"]
    servers.serve(model.card, dict)
    await database.ensure_starters([model.card])
    settings = Settings(
        home=tmp_path, cache=tmp_path / "cache", triton=TritonSettings(repository=tmp_path / "repository")
    )
    manager = Manager(settings, {"icu_mortality": model}, database, FakeBlobs(), servers, clock)
    running = asyncio.ensure_future(manager.run())
    try:
        await clock.advance(0.75 * PATIENCE_S)
        servers.away = True
        await clock.advance(3.0)
        servers.away = False
        back = clock.monotonic()
        await clock.advance(0.75 * PATIENCE_S)
        assert servers.when == []
        while not servers.when:
            assert not running.done(), running
            await clock.advance(0.5)
        assert servers.when[0] >= back + PATIENCE_S
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
