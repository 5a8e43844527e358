"""Micro-batches beside each other: no more than the step asked for, and fuller when it cannot keep up."""

from adapters.fakes.clock import FakeClock
from consumers.batching import Batcher
from consumers.outcomes import Batch
from tests.support.arrivals import arrival
from tests.unit.test_batching import Works, turns


def batcher(works: Works, clock: FakeClock, *, at_once: int, by_key: bool = False) -> Batcher:
    return Batcher(Batch(3, 0.02, at_once=at_once), works, clock, bound=12, by_key=by_key)


async def test_events_collect_while_all_places_are_taken_and_go_full_when_one_ends() -> None:
    works, clock = Works(), FakeClock()
    found = batcher(works, clock, at_once=1)
    await found.add(arrival(0, key=None))
    await clock.advance(0.02)
    for number in range(1, 6):
        await found.add(arrival(number, key=None))
        await clock.advance(0.02)
    assert works.started == [[0]]
    await works.end(0)
    assert works.started == [[0], [1, 2, 3]]
    await works.end(1)
    assert works.started == [[0], [1, 2, 3], [4, 5]]


async def test_what_has_not_waited_long_enough_waits_on_when_a_place_is_free() -> None:
    works, clock = Works(), FakeClock()
    found = batcher(works, clock, at_once=1)
    for number in range(3):
        await found.add(arrival(number, key=None))
    await turns()
    await found.add(arrival(3, key=None))
    await works.end(0)
    assert works.started == [[0, 1, 2]]
    await clock.advance(0.02)
    assert works.started == [[0, 1, 2], [3]]


async def test_two_places_run_two_batches_and_not_three() -> None:
    works, clock = Works(), FakeClock()
    found = batcher(works, clock, at_once=2)
    for number in range(9):
        await found.add(arrival(number, key=None))
    await turns()
    assert works.started == [[0, 1, 2], [3, 4, 5]]
    await works.end(1)
    assert works.started == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


async def test_a_key_that_is_collected_twice_behind_a_full_place_never_runs_beside_itself() -> None:
    """Rule 5: with order by key, an event whose key is in flight waits."""
    works, clock = Works(), FakeClock()
    found = batcher(works, clock, at_once=2, by_key=True)
    for number, key in enumerate([b"a", b"b", b"c", b"d", b"e", b"f", b"x", b"y", b"x", b"x", b"z"]):
        await found.add(arrival(number, key=key))
    await turns()
    assert works.started == [[0, 1, 2], [3, 4, 5]]
    await works.end(0)
    assert works.started[2] == [6, 7, 8]  # one batch may hold a key twice: it is one unit, in order
    await works.end(1)
    await clock.advance(0.02)
    assert works.started[3] == [10]  # 9 has the key x of the batch that runs
    await works.end(2)
    await clock.advance(0.02)
    assert works.started[4] == [9]


async def test_drain_ends_when_everything_collected_has_run() -> None:
    works, clock = Works(), FakeClock()
    found = batcher(works, clock, at_once=1)
    for number in range(5):
        await found.add(arrival(number, key=None))
    await turns()
    await works.end(0)
    found.flush()
    await turns()
    await works.end(1)
    assert await found.drain(lambda: False)
    assert works.started == [[0, 1, 2], [3, 4]]
