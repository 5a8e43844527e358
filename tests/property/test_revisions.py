"""Whatever is recorded in whatever order and batches: one visible result a key, revisions 1..n, a whole chain."""

import asyncio
from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.clock import SystemClock
from adapters.database import ResultFilter, StoredResult
from adapters.fakes.database import FakeDatabase
from schemas.events import Answer
from tests.support.answers import answer

ARRIVALS = st.lists(
    st.builds(
        answer,
        st.sampled_from(["a", "b"]),
        st.sampled_from(["x", "y", "z"]),
        sender=st.sampled_from(["", "other"]),
        version=st.sampled_from(["1.0.0", "2.0.0"]),
        task=st.sampled_from(["one", "two"]),
        arm=st.sampled_from(["serving", "canary", "shadow"]),
    ),
    max_size=40,
)


async def recorded(batches: list[list[Answer]]) -> tuple[FakeDatabase, list[StoredResult]]:
    """The ledger after these batches, and its results."""
    ledger = FakeDatabase(SystemClock())
    for batch in batches:
        await ledger.record(batch)
    return ledger, await ledger.results(ResultFilter(limit=1000, simulated=True))


@given(ARRIVALS, st.integers(1, 10))
def test_one_result_a_key_numbered_without_gaps_each_naming_the_one_before(arrivals: list[Answer], size: int) -> None:
    """S4."""
    _, results = asyncio.run(recorded([arrivals[n : n + size] for n in range(0, len(arrivals), size)]))
    keys = [(r.result.object_id, r.result.answer.content, r.result.task) for r in results]
    assert len(keys) == len(set(keys))
    assert set(keys) == {(a.object_id, a.content, a.task) for a in arrivals if a.arm != "shadow"}
    chains = defaultdict(list)
    for each in results:
        chains[each.result.object_id, each.result.task].append(each.result)
    for chain in chains.values():
        chain.sort(key=lambda result: result.revision)
        assert [result.revision for result in chain] == list(range(1, len(chain) + 1))
        assert [result.supersedes for result in chain] == [None, *(result.result_id for result in chain[:-1])]


@given(ARRIVALS, st.integers(1, 10))
def test_delivering_everything_again_changes_no_result_and_no_outcome(arrivals: list[Answer], size: int) -> None:
    batches = [arrivals[n : n + size] for n in range(0, len(arrivals), size)]
    ledger, once = asyncio.run(recorded(batches))
    outcomes = dict(ledger.outcomes)

    async def again() -> list[StoredResult]:
        for batch in reversed(batches):
            await ledger.record(batch)
        return await ledger.results(ResultFilter(limit=1000, simulated=True))

    assert asyncio.run(again()) == once
    assert ledger.outcomes == outcomes


@given(ARRIVALS)
@settings(max_examples=50)
def test_every_event_ends_as_answered_or_as_duplicate_of_what_is_visible(arrivals: list[Answer]) -> None:
    ledger, results = asyncio.run(recorded([arrivals]))
    visible = {r.result.result_id for r in results}
    assert {(a.event_id, a.task) for a in arrivals if a.arm != "shadow"} == ledger.outcomes.keys()
    assert all(row.answer_id in visible for row in ledger.outcomes.values())
    answered = [row.answer_id for row in ledger.outcomes.values() if row.fate == "answered"]
    assert sorted(map(str, answered)) == sorted(map(str, visible)), "each result answers exactly one event"
