"""The release log and the outbox, as PostgreSQL and the fake keep them; and the outages of a real server."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from adapters.clock import SystemClock
from adapters.database import Database, OutboxRow, Release, State, migrate
from adapters.fakes.database import FakeDatabase
from adapters.settings import Settings
from schemas import topics
from schemas.errors import BrokerUnavailable, DatabaseUnavailable, UserError
from tests.support import stack
from tests.support.answers import answer
from tests.support.steps import card


async def put(ledger: Database, task: str, version: str, state: State, share: float = 0.0) -> Release:
    """A decision by a tester."""
    return await ledger.set_release(task, version, state, share=share, by_whom="tester", why="a test")


@pytest.fixture(params=["real", "fake"])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[Database | FakeDatabase]:
    """PostgreSQL, then the fake."""
    if request.param == "fake":
        yield FakeDatabase(SystemClock())
        return
    opened = Database.open(request.getfixturevalue("fresh_database"), SystemClock())
    yield opened
    await opened.close()


async def states(ledger: Database) -> dict[tuple[str, str], str]:
    """The newest state of each task and version."""
    return {(release.task, release.version): release.state for release in await ledger.releases()}


async def test_starters_are_promoted_once_however_many_start_at_the_same_moment(ledger: Database) -> None:
    cards = [card("one", "image"), card("two", "vitals")]
    await asyncio.gather(*(ledger.ensure_starters(cards, {"one": "packaged"}) for _ in range(4)))
    assert [(r.task, r.version, r.state, r.why) for r in await ledger.releases()] == [
        ("one", "1.0.0", "PROMOTED", "packaged"),
        ("two", "1.0.0", "PROMOTED", "starter version of the card"),
    ]


async def test_a_starter_does_not_undo_a_decision_that_was_taken(ledger: Database) -> None:
    await put(ledger, "one", "0.9.0", "PROMOTED")
    await ledger.ensure_starters([card("one", "image")])
    assert await states(ledger) == {("one", "0.9.0"): "PROMOTED"}


async def test_a_promotion_retires_the_version_before_and_is_seen_by_asking_for_what_is_newer(ledger: Database) -> None:
    first = await put(ledger, "one", "1.0.0", "PROMOTED")
    await put(ledger, "two", "1.0.0", "PROMOTED")
    await put(ledger, "one", "2.0.0", "CANARY", share=0.1)
    newest = await put(ledger, "one", "2.0.0", "PROMOTED")
    assert await states(ledger) == {
        ("one", "1.0.0"): "RETIRED",
        ("one", "2.0.0"): "PROMOTED",
        ("two", "1.0.0"): "PROMOTED",
    }
    later = await ledger.releases(since=first.epoch)
    assert [r.epoch for r in later] == sorted(r.epoch for r in later)
    assert later[-1] == newest
    assert await ledger.releases(since=newest.epoch) == []


@pytest.mark.parametrize(("state", "share"), [("CANARY", 0.0), ("CANARY", 1.5), ("PROMOTED", -0.1)])
async def test_a_share_that_cannot_be_served_is_refused(ledger: Database, state: State, share: float) -> None:
    with pytest.raises(UserError):
        await put(ledger, "one", "1.0.0", state, share)
    assert await ledger.releases() == []


async def test_a_decision_is_announced_through_the_outbox_once(ledger: Database) -> None:
    await put(ledger, "one", "1.0.0", "PROMOTED")
    sent: list[OutboxRow] = []

    async def send(rows: Sequence[OutboxRow]) -> None:
        sent.extend(rows)

    assert await ledger.relay(send) == 1
    assert await ledger.relay(send) == 0
    assert [(row.topic, row.key) for row in sent] == [(topics.RELEASES_CHANGED, b"one")]
    assert ("ce_task", b"one") in sent[0].headers


async def test_messages_that_could_not_be_sent_stay_in_their_order(ledger: Database) -> None:
    names = [await ledger.enqueue("topic", None, [("h", bytes([n]))], bytes([n])) for n in range(3)]

    async def fail(rows: Sequence[OutboxRow]) -> None:
        raise BrokerUnavailable("away")

    with pytest.raises(BrokerUnavailable):
        await ledger.relay(fail)
    waiting = await ledger.unsent()
    assert [row.id for row in waiting] == names
    assert [(row.headers, row.value) for row in waiting] == [([("h", bytes([n]))], bytes([n])) for n in range(3)]
    await ledger.mark_sent(names[:2])
    assert [row.id for row in await ledger.unsent()] == names[2:]


@pytest.fixture(scope="module")
def fragile() -> Iterator[stack.RunningStack]:
    """A PostgreSQL that tests may end; its supervisor starts it again."""
    with stack.start_parts("database") as running:
        yield running


async def test_every_call_says_unavailable_while_the_server_is_gone_and_works_again_after(
    fragile: stack.RunningStack,
) -> None:
    """Delivery rule 9: an outage is told apart from a mistake, so that the lane parks."""
    settings = fragile.settings()
    await asyncio.to_thread(migrate, settings)
    database = Database.open(settings, SystemClock())
    given = answer("survivor")
    await database.record([given])
    pid = fragile.component("database")["pid"]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(DatabaseUnavailable):
        await _record_for_ever(database)
    row = None
    async with asyncio.timeout(60):
        while row is None:
            try:
                (row,) = await database.record([given])
            except DatabaseUnavailable:
                await asyncio.sleep(0.05)
    assert row.won
    assert not row.first_time, "what was committed before the kill is still there"
    await database.close()


async def _record_for_ever(database: Database) -> None:
    async with asyncio.timeout(30):
        while True:
            await database.record([answer("survivor", content="new")])


async def test_a_server_that_was_never_there_is_unavailable_and_not_an_error_of_ours(database_server: Settings) -> None:
    nowhere = database_server.database.model_copy(
        update={"url": "postgresql+asyncpg://clinstream_app:x@127.0.0.1:1/clinstream"}
    )
    database = Database.open(database_server.model_copy(update={"database": nowhere}), SystemClock())
    with pytest.raises(DatabaseUnavailable):
        await database.probe()
    await database.close()


async def test_a_caller_that_is_cancelled_does_not_interrupt_its_transaction(fresh_database: Settings) -> None:
    """The commit is shielded: close() waits for it."""
    database = Database.open(fresh_database, SystemClock())
    await database.probe()
    given = [answer(f"thing {n}") for n in range(500)]
    task = asyncio.ensure_future(database.record(given))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await database.close()
    again = Database.open(fresh_database, SystemClock())
    assert len(await again.all_outcomes()) == 500
    await again.close()


async def test_a_statement_that_takes_too_long_is_ended_and_told_as_unavailable(fresh_database: Settings) -> None:
    short = fresh_database.database.model_copy(update={"statement_timeout_s": 0.3})
    database = Database.open(fresh_database.model_copy(update={"database": short}), SystemClock())
    owner = Database.open(fresh_database, SystemClock(), as_owner=True)

    async def hold(rows: Sequence[OutboxRow]) -> None:
        with pytest.raises(DatabaseUnavailable):
            await database.mark_sent([row.id for row in rows])

    await owner.enqueue("topic", None, [], b"")
    assert await owner.relay(hold) == 1
    await owner.close()
    await database.close()
