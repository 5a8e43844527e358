"""Runs, versions and orders on a real PostgreSQL: one run a request, one holder a run, a version never changed."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from adapters.database import Database, Order, Version
from adapters.fakes.clock import FakeClock
from adapters.settings import Settings
from schemas.events import RetrainRequested
from tests.support.answers import TASK

AT = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)
LEASE = timedelta(seconds=30)


@pytest.fixture
def clock() -> FakeClock:
    """Leases end when a test says so."""
    return FakeClock()


@pytest.fixture
async def ledger(fresh_database: Settings, clock: FakeClock) -> AsyncIterator[Database]:
    """PostgreSQL as the application role."""
    opened = Database.open(fresh_database, clock)
    yield opened
    await opened.close()


def asked(number: int = 1) -> RetrainRequested:
    """A request."""
    return RetrainRequested(
        request_id=UUID(int=number), task=TASK, window=number, corrections=20, reason="20 corrections", requested_at=AT
    )


def version(number: str = "1.1.0") -> Version:
    """A trained version."""
    point = {"threshold": 0.1, "sensitivity": [0.8, 0.7, 0.9], "specificity": [0.6, 0.5, 0.7], "measured_on": "tests"}
    return Version(TASK, number, UUID(int=1), "weights/ab/x", "x", point, (0.1, 0.2), "1", {}, "models:/x/1", AT)


async def test_a_bell_that_rings_twice_is_one_run(ledger: Database) -> None:
    """Delivery rule 11."""
    assert await ledger.request_run(asked())
    assert not await ledger.request_run(asked())
    assert len(await ledger.runs()) == 1


async def test_a_run_is_held_by_one_worker_until_its_lease_ends(ledger: Database, clock: FakeClock) -> None:
    await ledger.request_run(asked())
    first = await ledger.claim_run("a", LEASE)
    assert first is not None
    assert await ledger.claim_run("b", LEASE) is None
    await clock.advance(20)
    assert await ledger.hold_run(first, LEASE)
    await clock.advance(20)
    assert await ledger.claim_run("b", LEASE) is None
    await clock.advance(31)
    second = await ledger.claim_run("b", LEASE)
    assert second is not None
    assert second.attempt == first.attempt + 1
    assert not await ledger.hold_run(first, LEASE)
    assert not await ledger.note_run(first, "train")
    assert not await ledger.end_run(first, "REGISTERED", "late", {}, version=version())
    assert await ledger.versions() == []
    assert await ledger.end_run(second, "REGISTERED", "in time", {}, version=version())
    assert [(run.state, run.why) for run in await ledger.runs()] == [("REGISTERED", "in time")]


async def test_a_worker_that_comes_back_after_a_crash_has_its_own_run_at_once(ledger: Database) -> None:
    await ledger.request_run(asked())
    first = await ledger.claim_run("a", LEASE)
    assert first is not None
    assert await ledger.note_run(first, "train", snapshot="abc", version="1.1.0")
    again = await ledger.claim_run("a", LEASE)
    assert again is not None
    assert (again.request_id, again.snapshot, again.version) == (first.request_id, "abc", "1.1.0")
    assert not await ledger.note_run(first, "train")


async def test_a_run_ends_with_its_version_and_decisions_or_with_nothing(ledger: Database) -> None:
    await ledger.request_run(asked())
    run = await ledger.claim_run("a", LEASE)
    assert run is not None
    moves = [("1.1.0", "TRAINED", 0.0), ("1.1.0", "REGISTERED", 0.0)]
    assert await ledger.end_run(run, "REGISTERED", "passed", {"a": 1}, version=version(), moves=moves)  # type: ignore[arg-type]
    assert not await ledger.end_run(run, "FAILED", "again", {})
    assert [row.state for row in await ledger.releases()] == ["TRAINED", "REGISTERED"]
    assert await ledger.claim_run("a", LEASE) is None


async def test_a_version_is_never_changed_and_approved_once(ledger: Database) -> None:
    """ME12: who answers for a version is written once."""
    assert await ledger.add_version(version(), by_whom="tester", why="a test")
    other = replace(version(), weights_sha256="y")
    assert not await ledger.add_version(other, by_whom="tester", why="a test")
    assert await ledger.approve_version(TASK, "1.1.0", by_whom="first", why="good")
    assert not await ledger.approve_version(TASK, "1.1.0", by_whom="second", why="good")
    assert not await ledger.approve_version(TASK, "9.9.9", by_whom="first", why="good")
    (stored,) = await ledger.versions()
    assert (stored.weights_sha256, stored.approved_by) == ("x", "first")
    assert stored.operating_point == version().operating_point


async def test_orders_wait_in_their_order_and_keep_their_refusal(ledger: Database) -> None:
    first, second = [await ledger.order(Order(TASK, v, "promote", 1.0, "t", "w")) for v in ("1.0.0", "2.0.0")]
    await ledger.end_order(first.id, "not approved")
    assert [order.id for order in await ledger.open_orders()] == [second.id]
    found = await ledger.order_by_id(first.id)
    assert found is not None
    assert found.refused == "not approved"
    assert found.done_at is not None
