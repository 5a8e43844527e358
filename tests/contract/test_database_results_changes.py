"""Withdrawing and amending visible results: once, audited, announced, and with the follow-ups that they asked for."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from adapters.clock import SystemClock
from adapters.database import Database, ResultFilter, results_changes
from adapters.fakes.database import FakeDatabase
from adapters.settings import Settings
from schemas import envelope
from schemas.errors import UserError
from schemas.events import Answer, Base, ResultAmended, ResultWithdrawn
from tests.support.answers import TASK, answer

FIRST, SECOND = "screening", "diagnosis"
AT = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)


@pytest.fixture(params=["real", "fake"])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[Database | FakeDatabase]:
    """PostgreSQL, then the fake."""
    if request.param == "fake":
        yield FakeDatabase(SystemClock())
        return
    opened = Database.open(request.getfixturevalue("fresh_database"), SystemClock())
    yield opened
    await opened.close()


def pair(thing: str = "thing") -> tuple[Answer, Answer]:
    """A screening's answer and the follow-up that it asked for."""
    first = answer(thing, task=FIRST)
    return first, answer(thing, task=SECOND, event_id=first.event_id, follows=first.answer_id)


async def announced(ledger: Database) -> list[tuple[str, Base]]:
    """(topic, event) of what waits in the outbox."""
    kinds = (ResultWithdrawn, ResultAmended)
    return [(row.topic, envelope.read_any(row.headers, row.value, kinds)[1]) for row in await ledger.unsent()]


async def test_a_withdrawn_result_says_so_once_to_the_subscribers_of_its_topic(ledger: Database) -> None:
    """ResultWithdrawn: one transaction, and a second time changes nothing."""
    given = answer()
    await ledger.record([given])
    done = await ledger.withdraw(given.answer_id, by_whom="tester", why="wrong patient")
    again = await ledger.withdraw(given.answer_id, by_whom="tester", why="another reason")
    assert (done.again, again.again) == (False, True)
    ((topic, event),) = await announced(ledger)
    assert topic == f"results.{TASK}"
    assert isinstance(event, ResultWithdrawn)
    assert (event.result_id, event.revision, event.reason) == (given.answer_id, 1, "wrong patient")
    (stored,) = await ledger.results(ResultFilter())
    assert stored.withdrawn_at is not None
    assert stored.withdrawn_why == "wrong patient"
    (row,) = await ledger.unsent()
    assert row.key == b"sub-thing"


async def test_an_unknown_result_cannot_be_withdrawn_and_the_message_says_where_ids_are(ledger: Database) -> None:
    with pytest.raises(UserError, match="results --json"):
        await ledger.withdraw(UUID(int=7), by_whom="tester", why="because")
    assert await ledger.unsent() == []


async def test_a_simulated_result_is_withdrawn_on_the_simulated_topic(ledger: Database) -> None:
    """CC21."""
    given = answer(simulated=True)
    await ledger.record([given])
    await ledger.withdraw(given.answer_id, by_whom="tester", why="because")
    assert [topic for topic, _ in await announced(ledger)] == [f"simulated.{TASK}"]


async def test_a_withdrawn_result_is_recorded_again_without_being_published_again(ledger: Database) -> None:
    """A redelivery after the withdrawal must not show it after all."""
    given = answer()
    await ledger.record([given])
    await ledger.withdraw(given.answer_id, by_whom="tester", why="because")
    (row,) = await ledger.record([given])
    assert (row.won, row.withdrawn) == (True, True)
    key = (given.object_id, given.content, given.task)
    assert (await ledger.already_visible([key]))[key].withdrawn_at is not None


async def test_the_follow_ups_of_a_withdrawn_result_go_with_it_and_others_stay(ledger: Database) -> None:
    first, second = pair()
    others = pair("other")
    await ledger.record([first, second, *others])
    done = await ledger.withdraw(first.answer_id, by_whom="tester", why="blurred")
    assert [each.result_id for each in done.followed] == [second.answer_id]
    told = await announced(ledger)
    assert [topic for topic, _ in told] == [f"results.{FIRST}", f"results.{SECOND}"]
    held = [row.result.result_id for row in await ledger.results(ResultFilter()) if row.withdrawn_at is None]
    assert set(held) == {each.answer_id for each in others}


async def test_a_follow_up_that_comes_after_the_withdrawal_is_withdrawn_from_the_start(ledger: Database) -> None:
    first, second = pair()
    await ledger.record([first])
    await ledger.withdraw(first.answer_id, by_whom="tester", why="blurred")
    (row,) = await ledger.record([second])
    assert (row.won, row.withdrawn) == (True, True)
    assert [topic for topic, _ in await announced(ledger)] == [f"results.{FIRST}", f"results.{SECOND}"]
    assert all(row.withdrawn_at for row in await ledger.results(ResultFilter()))


async def test_a_withdrawal_beside_its_follow_up_never_leaves_the_follow_up_shown(fresh_database: Settings) -> None:
    """Whichever of the two transactions is first: PostgreSQL only, the fake has no concurrency."""
    ledger = Database.open(fresh_database, SystemClock())
    pairs = [pair(f"thing {number}") for number in range(12)]
    await ledger.record([first for first, _ in pairs])
    await asyncio.gather(
        *(ledger.withdraw(first.answer_id, by_whom="tester", why="because") for first, _ in pairs),
        *(ledger.record([second]) for _, second in pairs),
    )
    assert len(await ledger.results(ResultFilter())) == 24
    assert all(row.withdrawn_at for row in await ledger.results(ResultFilter()))
    assert len(await ledger.unsent()) == 24
    await ledger.close()


async def test_an_amendment_adds_to_the_result_and_is_announced_with_its_own_id(fresh_database: Settings) -> None:
    """ResultAmended, in the transaction of whoever calls."""
    ledger = Database.open(fresh_database, SystemClock())
    given = answer()
    await ledger.record([given])
    changes = [("a", {"assessment": "rejected"}), ("b", {"assessment": "supplemented", "label": "survived"})]

    async def amend(change: str, changed: dict[str, str], result: UUID = given.answer_id) -> bool:
        return await ledger._transactions.run(
            lambda c: results_changes.amend(c, result, change_id=change, changed=changed, reason="assessed", now=AT)
        )

    assert [await amend(*change) for change in changes] == [True, True]
    assert not await amend("c", {}, UUID(int=7))
    rows = await ledger.unsent()
    names = [dict(row.headers)["ce_id"].decode() for row in rows]
    assert names == [f"{given.answer_id}/amended/a", f"{given.answer_id}/amended/b"]
    (stored,) = await ledger.results(ResultFilter())
    assert (stored.amended_at, stored.amended) == (AT, {"assessment": "supplemented", "label": "survived"})
    await ledger.withdraw(given.answer_id, by_whom="tester", why="because")
    assert not await amend("d", {"assessment": "accepted"})
    await ledger.close()
