"""Counting corrections on a real PostgreSQL: once each, one request a window, also when two stand at the threshold."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from adapters.clock import SystemClock
from adapters.database import Assessed, Database, ResultFilter, Rules
from adapters.settings import Settings
from schemas import envelope, ids
from schemas.events import Base, ResultAmended, ResultAssessed, RetrainRequested, Verdict
from tests.support.answers import TASK, answer

AT = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)
RULES = {TASK: Rules(("survived", "died"), 4)}


@pytest.fixture
async def ledger(fresh_database: Settings) -> AsyncIterator[Database]:
    """PostgreSQL as the application role."""
    opened = Database.open(fresh_database, SystemClock())
    yield opened
    await opened.close()


def said(
    result: UUID, verdict: Verdict = "rejected", label: str = "survived", *, key: str = "k", after_s: float = 0.0
) -> ResultAssessed:
    """What a clinician says of a result, some seconds after eight o'clock."""
    return ResultAssessed(
        override_id=ids.override_id(result, "cli-a", verdict, label, key),
        result_id=result,
        clinician_id="cli-a",
        verdict=verdict,
        label=label,
        assessed_at=AT + timedelta(seconds=after_s),
    )


async def results(ledger: Database, many: int, **changes: Any) -> list[UUID]:
    """Visible results of as many events, each answered `died`."""
    answers = [answer(f"thing-{number}", **changes) for number in range(many)]
    await ledger.record(answers)
    return [each.answer_id for each in answers]


async def assess(ledger: Database, *events: ResultAssessed) -> Sequence[Assessed]:
    """One delivery an assessment."""
    return [(await ledger.assess([event], RULES))[0] for event in events]


async def requests(ledger: Database) -> list[RetrainRequested]:
    """What waits in the outbox for the trainer."""
    kinds: tuple[type[Base], ...] = (RetrainRequested, ResultAmended)
    found = [envelope.read_any(row.headers, row.value, kinds)[1] for row in await ledger.unsent()]
    return [event for event in found if isinstance(event, RetrainRequested)]


async def test_five_replays_of_each_assessment_are_one_count_and_one_request(ledger: Database) -> None:
    """Delivery rule 6: each (event, task) counts once."""
    ids_ = await results(ledger, 4)
    for _ in range(5):
        await assess(ledger, *(said(result) for result in ids_))
    (request,) = await requests(ledger)
    assert (request.task, request.window, request.corrections) == (TASK, 0, 4)
    assert await ledger.retrain_windows() == [(TASK, 0, 1)]


async def test_two_at_the_threshold_at_the_same_moment_make_one_request(fresh_database: Settings) -> None:
    """Delivery rule 6: counting rows under READ COMMITTED would miss the trigger, or pull it twice."""
    one, other = (Database.open(fresh_database, SystemClock()) for _ in range(2))
    try:
        ids_ = await results(one, 8)
        halves = (ids_[:4], ids_[4:])
        await asyncio.gather(
            *(
                db.assess([said(result)], RULES)
                for db, half in zip((one, other), halves, strict=True)
                for result in half
            )
        )
        assert sorted(request.window for request in await requests(one)) == [0, 1]
        assert await one.retrain_windows() == [(TASK, 0, 2)]
    finally:
        await one.close()
        await other.close()


async def test_a_correction_that_is_taken_back_in_time_no_longer_counts(ledger: Database) -> None:
    first, second, third, fourth, fifth = await results(ledger, 5)
    await assess(ledger, said(first), said(second), said(third))
    await assess(ledger, said(first, "accepted", "", after_s=5))
    await assess(ledger, said(fourth, after_s=6))
    assert await ledger.retrain_windows() == [(TASK, 3, 0)]
    assert await requests(ledger) == []
    await assess(ledger, said(fifth, after_s=7))
    assert len(await requests(ledger)) == 1


async def test_an_older_assessment_that_arrives_late_changes_no_count(ledger: Database) -> None:
    (result,) = await results(ledger, 1)
    await assess(ledger, said(result, "accepted", "", after_s=10), said(result, after_s=1))
    assert await ledger.retrain_windows() == [(TASK, 0, 0)]


async def test_a_second_opinion_on_the_same_event_counts_once(ledger: Database) -> None:
    (result,) = await results(ledger, 1)
    await assess(ledger, said(result), said(result, key="another", after_s=3))
    assert await ledger.retrain_windows() == [(TASK, 1, 0)]


async def test_a_correction_amends_the_result_and_an_agreement_does_not(ledger: Database) -> None:
    """S6: subscribers hear of it on the result's own topic."""
    first, second = await results(ledger, 2)
    await assess(ledger, said(first), said(first), said(second, "accepted", ""))
    (row,) = await ledger.unsent()
    event = envelope.read_any(row.headers, row.value, (ResultAmended,))[1]
    assert isinstance(event, ResultAmended)
    assert (row.topic, event.result_id) == (f"results.{TASK}", first)
    assert event.changed == {"assessment": "rejected", "label": "survived"}
    stored = {each.result.result_id: each.amended for each in await ledger.results(ResultFilter())}
    assert stored[first]["assessment"] == "rejected"
    assert stored[second] == {}


async def test_simulated_results_are_assessed_and_never_counted(ledger: Database) -> None:
    """CC21."""
    ids_ = await results(ledger, 5, simulated=True)
    await assess(ledger, *(said(result) for result in ids_))
    assert await requests(ledger) == []
    assert await ledger.retrain_windows() == []


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (said(ids.answer_id(UUID(int=1), TASK, "1", "1")), "there is no result"),
        (None, "has no label of that name"),
    ],
    ids=["no such result", "no such label"],
)
async def test_what_cannot_be_taken_says_why_and_leaves_nothing(
    ledger: Database, event: ResultAssessed | None, words: str
) -> None:
    (result,) = await results(ledger, 1)
    (taken,) = await assess(ledger, event or said(result, label="happy"))
    assert words in taken.problem
    assert await ledger.unsent() == []
    (again,) = await assess(ledger, said(result))
    assert again.counted


async def test_corrections_are_the_latest_of_each_event_with_where_it_was_observed(ledger: Database) -> None:
    first, second, third = await results(ledger, 3)
    await assess(ledger, said(first), said(second), said(second, "accepted", "", after_s=9), said(third))
    await ledger.withdraw(third, by_whom="tester", why="wrong patient")
    found = await ledger.corrections(TASK, AT + timedelta(hours=1))
    assert [(each.object_id, each.label, each.answered) for each in found] == [("thing-0", "survived", "died")]
    assert (found[0].topic, found[0].partition, found[0].offset) == ("observed.vitals", 2, 41)
    assert await ledger.corrections(TASK, AT - timedelta(hours=1)) == []
