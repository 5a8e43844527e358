"""Waiting for what became of sent events, for `clinstream send --wait`."""

from collections.abc import Callable
from uuid import uuid4

import pytest

from adapters.database import Database
from adapters.database.records import StoredOutcome
from adapters.fakes.clock import FakeClock
from adapters.fakes.database import FakeDatabase
from clinstream.sending import outcomes
from schemas.errors import DatabaseUnavailable
from tests.support.answers import TASK, answer, outcome


class Impatient(FakeClock):
    """A clock whose sleepers wake at once; what happens meanwhile is `then`."""

    def __init__(self) -> None:
        super().__init__()
        self.then: Callable[[], None] = lambda: None
        self.slept = 0

    async def sleep(self, seconds: float) -> None:
        self._time += seconds
        self.slept += 1
        self.then()


@pytest.fixture
def clock() -> Impatient:
    return Impatient()


@pytest.fixture
def database(clock: Impatient) -> FakeDatabase:
    return FakeDatabase(clock)


async def endings(database: FakeDatabase, clock: Impatient, *events: str) -> dict[str, list[outcomes.Ending]]:
    real: Database = database  # type: ignore[assignment]  # the fake sits the same exam, by its contract test
    return await outcomes.endings(real, events, [[TASK]], clock, seconds=10.0)


async def test_an_answered_event_shows_its_visible_result(database: FakeDatabase, clock: Impatient) -> None:
    given = answer("thing", score=0.75)
    (recorded,) = await database.record([given])
    found = await endings(database, clock, str(given.event_id))
    (ending,) = found[str(given.event_id)]
    assert (ending.fate, ending.label, ending.score) == ("answered", given.label, 0.75)
    assert recorded.result is not None
    assert ending.result_id == str(recorded.result.result_id)


async def test_a_duplicate_shows_the_result_that_was_there_first(database: FakeDatabase, clock: Impatient) -> None:
    first, second = answer("thing", sender="a", score=0.75), answer("thing", sender="b", score=0.25)
    await database.record([first])
    await database.record([second])
    found = await endings(database, clock, str(second.event_id))
    (ending,) = found[str(second.event_id)]
    assert (ending.fate, ending.score) == ("duplicate_of", 0.75)


async def test_it_waits_for_events_that_have_not_ended_yet(database: FakeDatabase, clock: Impatient) -> None:
    event = uuid4()

    def decide() -> None:
        if clock.slept == 3:
            database._keep([outcome(event, "refused")])

    clock.then = decide
    found = await endings(database, clock, str(event))
    assert [ending.reason for ending in found[str(event)]] == ["because refused"]
    assert clock.slept == 3


async def test_an_outcome_for_every_task_at_once_is_complete(database: FakeDatabase, clock: Impatient) -> None:
    event = uuid4()
    await database.decide([outcome(event, "not_applicable", "*")])
    found = await endings(database, clock, str(event))
    assert [ending.fate for ending in found[str(event)]] == ["not_applicable"]
    assert clock.slept == 0


async def test_after_its_time_it_says_what_it_has(database: FakeDatabase, clock: Impatient) -> None:
    ended, never = uuid4(), uuid4()
    await database.decide([outcome(ended, "dead")])
    found = await endings(database, clock, str(ended), str(never))
    assert set(found) == {str(ended)}
    assert clock.slept == pytest.approx(10.0 / outcomes.ASK_EVERY_S)


async def test_a_database_that_is_away_is_said(database: FakeDatabase, clock: Impatient) -> None:
    database.down = True
    with pytest.raises(DatabaseUnavailable):
        await endings(database, clock, str(uuid4()))


@pytest.mark.parametrize(
    ("fates", "complete"),
    [
        ({}, False),
        ({"*": "not_applicable"}, True),
        ({"chest": "answered"}, True),
        ({"ear": "answered"}, False),
        ({"drum": "answered"}, False),
        ({"ear": "answered", "drum": "not_applicable"}, True),
        ({"ear": "refused"}, True),
        ({"ear": "duplicate_of"}, True),
        ({"chest": "answered", "ear": "answered"}, False),
    ],
)
def test_an_event_has_ended_when_every_chain_of_tasks_that_claimed_it_has(
    fates: dict[str, str], complete: bool
) -> None:
    """A picture of an ear does not wait for models of chests, and waits for what its screening asks."""
    event = uuid4()
    rows = [StoredOutcome(event, task, fate, "", None, "o", "c", "s") for task, fate in fates.items()]  # type: ignore[arg-type]
    assert outcomes.is_complete(rows, [["chest"], ["ear", "drum"]]) == complete
