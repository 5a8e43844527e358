"""One visible result a key, as PostgreSQL and the fake keep it; both sit the same exam."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from adapters.clock import SystemClock
from adapters.database import Database, ResultFilter
from adapters.fakes.database import FakeDatabase
from schemas import ids
from schemas.events import Heat, ReferenceRange, Region, ResearchMeasurement
from tests.support.answers import TASK, answer, outcome

START = 1_700_000_000.0


@pytest.fixture(params=["real", "fake"])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[Database | FakeDatabase]:
    """PostgreSQL, then the fake."""
    if request.param == "fake":
        yield FakeDatabase(SystemClock())
        return
    settings = request.getfixturevalue("fresh_database")
    opened = Database.open(settings, SystemClock())
    yield opened
    await opened.close()


async def fates(ledger: Database | FakeDatabase) -> dict[str, int]:
    """How many outcomes of each fate."""
    found: dict[str, int] = {}
    for _, _, fate in await ledger.all_outcomes():
        found[fate] = found.get(fate, 0) + 1
    return found


async def test_a_first_answer_becomes_the_visible_result_with_revision_one(ledger: Database) -> None:
    """S4."""
    given = answer()
    (row,) = await ledger.record([given])
    assert row.won
    assert row.first_time
    assert row.result is not None
    assert (row.result.revision, row.result.supersedes, row.result.result_id) == (1, None, given.answer_id)
    assert row.result.answer == given
    (stored,) = await ledger.results(ResultFilter())
    assert stored.result == row.result
    assert await fates(ledger) == {"answered": 1}


async def test_the_places_and_measurements_of_an_answer_come_back_as_they_were(ledger: Database) -> None:
    """ME5, CC12: heat map, regions and research measurements, numbers that are whole too."""
    heat = Heat(rows=1, columns=2, percent=(0, 100), view=(1.0, 0.0, 0.0, 0.0, 0.5, 0.25))
    region = Region(score=1.0, outline=((0.0, 0.25), (1.0, 0.25), (0.5, 0.75)))
    usual = ReferenceRange(high=1.0, group="adults", source="a book")
    found = ResearchMeasurement(
        name="ratio", value=1.0, unit="1", method="how", method_version="1", notice="not validated", range=usual
    )
    given = answer(heat=heat, regions=(region,), research=(found,))
    await ledger.record([given])
    (stored,) = await ledger.results(ResultFilter())
    assert stored.result.answer == given


async def test_the_same_answer_five_times_is_one_result_and_is_handed_out_again_each_time(ledger: Database) -> None:
    """S4: a caller that died before publishing publishes at the redelivery."""
    given = answer()
    rows = [(await ledger.record([given]))[0] for _ in range(5)]
    assert [row.won for row in rows] == [True] * 5
    assert [row.first_time for row in rows] == [True, False, False, False, False]
    assert all(row.result == rows[0].result for row in rows)
    assert len(await ledger.results(ResultFilter())) == 1
    assert await fates(ledger) == {"answered": 1}


async def test_a_redelivery_after_a_promotion_returns_the_stored_result_of_the_old_version(ledger: Database) -> None:
    """S4: the new version's answer is kept and never shown."""
    old, new = answer(version="1.0.0"), answer(version="2.0.0", score=0.25)
    await ledger.record([old])
    (row,) = await ledger.record([new])
    assert row.won, "it is the same event, so its result is published again"
    assert row.first_time
    assert row.result is not None
    assert row.result.answer == old
    trail = await ledger.trail(events=[old.event_id])
    assert {a.version for a in trail.answers} == {"1.0.0", "2.0.0"}
    assert len(trail.results) == 1


async def test_another_event_with_the_same_content_is_a_duplicate_of_the_visible_one(ledger: Database) -> None:
    """S4: the same image from two senders."""
    first, second = answer(sender="A"), answer(sender="B")
    await ledger.record([first])
    (row,) = await ledger.record([second])
    assert not row.won
    assert row.result is not None
    assert row.result.result_id == first.answer_id
    (told,) = await ledger.outcomes_of([second.event_id])
    assert (told.fate, told.answer_id) == ("duplicate_of", first.answer_id)


async def test_two_answers_of_one_key_in_one_batch_leave_one_visible(ledger: Database) -> None:
    first, second = answer(sender="A"), answer(sender="B")
    rows = await ledger.record([first, second, first])
    assert [row.won for row in rows] == [True, False, True]
    assert [row.first_time for row in rows] == [True, True, False]
    assert {row.result.result_id for row in rows if row.result} == {first.answer_id}
    assert await fates(ledger) == {"answered": 1, "duplicate_of": 1}


async def test_another_content_of_the_object_is_the_next_revision_and_names_the_one_before(ledger: Database) -> None:
    one, two, three = answer(content="a"), answer(content="b"), answer(content="c")
    await ledger.record([one])
    rows = await ledger.record([one, two, three])
    results = [row.result for row in rows if row.result]
    assert [r.revision for r in results] == [1, 2, 3]
    assert [r.supersedes for r in results] == [None, one.answer_id, two.answer_id]


async def test_tasks_number_their_revisions_apart(ledger: Database) -> None:
    rows = await ledger.record([answer(task="one"), answer(task="two"), answer(task="two", content="other")])
    assert [row.result.revision for row in rows if row.result] == [1, 1, 2]


async def test_a_shadow_answer_is_kept_but_neither_shown_nor_an_outcome(ledger: Database) -> None:
    shadow = answer(arm="shadow", version="9.0.0")
    (row,) = await ledger.record([shadow])
    assert (row.won, row.result) == (False, None)
    assert await ledger.results(ResultFilter()) == []
    assert await fates(ledger) == {}
    (shown,) = await ledger.record([answer()])
    assert shown.result is not None
    assert shown.result.revision == 1, "shadow answers are not counted"
    assert len((await ledger.trail(events=[shadow.event_id])).answers) == 2


async def test_simulated_results_are_listed_only_when_asked_for(ledger: Database) -> None:
    """CC21."""
    await ledger.record([answer("real"), answer("made up", simulated=True)])
    assert [r.result.object_id for r in await ledger.results(ResultFilter())] == ["real"]
    assert len(await ledger.results(ResultFilter(simulated=True))) == 2


async def test_an_answer_beats_dead_and_dead_never_replaces_an_outcome(ledger: Database) -> None:
    given, refused = answer(), answer("other").event_id
    await ledger.decide([outcome(given.event_id, "dead"), outcome(refused, "refused")])
    await ledger.record([given])
    await ledger.decide([outcome(given.event_id, "dead"), outcome(refused, "dead")])
    assert [row.fate for row in await ledger.outcomes_of([given.event_id])] == ["answered"]
    assert [row.fate for row in await ledger.outcomes_of([refused])] == ["refused"]


async def test_a_dead_event_gets_its_real_outcome_later_and_a_repeat_changes_nothing(ledger: Database) -> None:
    event = answer().event_id
    for fate in ("dead", "not_applicable", "not_applicable", "dead"):
        await ledger.decide([outcome(event, fate)])
    (row,) = await ledger.outcomes_of([event])
    assert (row.fate, row.reason) == ("not_applicable", "because not_applicable")


async def test_several_outcomes_of_one_event_in_one_call_leave_the_strongest(ledger: Database) -> None:
    event = answer().event_id
    await ledger.decide([outcome(event, fate) for fate in ("dead", "refused", "dead")])
    assert await fates(ledger) == {"refused": 1}


async def test_already_visible_names_only_keys_with_a_result_and_the_event_that_won(ledger: Database) -> None:
    given = answer()
    await ledger.record([given, answer(content="other")])
    key = ("thing", "content", TASK)
    found = await ledger.already_visible([key, ("thing", "content", "another task"), ("none", "content", TASK)])
    assert set(found) == {key}
    assert found[key].event_id == given.event_id
    assert found[key].result.answer == given


async def test_what_was_recorded_is_found_again_by_result_id_and_by_subject(ledger: Database) -> None:
    given = answer()
    await ledger.record([given, answer("another")])
    found = await ledger.result(given.answer_id)
    assert found is not None
    assert found.result.answer == given
    assert await ledger.result(answer("unknown").answer_id) is None
    trail = await ledger.trail(subjects=["sub-thing"])
    assert [r.result.result_id for r in trail.results] == [given.answer_id]
    assert [o.fate for o in trail.outcomes] == ["answered"]


async def test_eight_writers_of_one_object_give_it_revisions_without_gap_or_repeat(ledger: Database) -> None:
    """S4: revisions under concurrency; every writer also repeats the others' contents."""
    batches = [[answer(content=f"c{(n + k) % 8}", sender=str(n)) for k in range(8)] for n in range(8)]
    written = await asyncio.gather(*(ledger.record(batch) for batch in batches))
    seen = {(row.result.answer.content, row.result.revision) for rows in written for row in rows if row.result}
    assert sorted(revision for _, revision in seen) == list(range(1, 9))
    trail = await ledger.trail(objects=["thing"])
    assert [r.result.revision for r in trail.results] == list(range(1, 9))
    chain = [r.result.supersedes for r in trail.results]
    assert chain == [None, *(r.result.result_id for r in trail.results[:-1])]
    assert await fates(ledger) == {"answered": 8, "duplicate_of": 56}


async def test_refusals_are_listed_newest_first_with_their_codes(ledger: Database) -> None:
    """CC10: a refusal is a result outcome with its reason, not a dead letter."""
    older, newer, injected = (answer(name) for name in ("1.1", "1.2", "1.3"))
    said: dict[str, Any] = {"task": TASK, "fate": "refused"}
    await ledger.decide(
        [
            outcome(older.event_id, object_id="1.1", subject_id="sub-a", decided_at=START, **said),
            outcome(newer.event_id, object_id="1.2", subject_id="sub-b", decided_at=START + 1, code="rotated", **said),
            outcome(injected.event_id, object_id=f"{ids.SIMULATED}1.3", decided_at=START + 2, **said),
            outcome(answer("1.4").event_id, task=TASK, fate="not_applicable"),
        ]
    )
    found = await ledger.refused(ResultFilter())
    assert [(one.outcome.object_id, one.outcome.code) for one in found] == [("1.2", "rotated"), ("1.1", "")]
    assert found[0].decided_at.timestamp() == START + 1
    assert [one.outcome.object_id for one in await ledger.refused(ResultFilter(subject="sub-a"))] == ["1.1"]
    assert len(await ledger.refused(ResultFilter(simulated=True, limit=2))) == 2
    assert await ledger.refused(ResultFilter(since=found[0].decided_at + timedelta(seconds=1))) == []
    assert await ledger.refused(ResultFilter(model="other")) == []
