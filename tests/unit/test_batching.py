"""Micro-batches: when they go, what bounds them, and what order by key means."""

import asyncio
from collections.abc import Sequence

import pytest

from adapters.fakes.clock import FakeClock
from consumers.batching import Batcher
from consumers.delivery import Arrival
from consumers.outcomes import Batch
from schemas.errors import SettingsError
from tests.support.arrivals import arrival


class Works:
    """Runs batches until it is told that one may end."""

    def __init__(self) -> None:
        self.started: list[list[int]] = []
        self._gates: list[asyncio.Event] = []

    async def __call__(self, batch: Sequence[Arrival]) -> None:
        """Waits for `end`."""
        gate = asyncio.Event()
        self.started.append([each.offset for each in batch])
        self._gates.append(gate)
        await gate.wait()

    async def end(self, index: int) -> None:
        """Lets the batch that started as number `index` end."""
        self._gates[index].set()
        await turns()


async def turns() -> None:
    """Lets everything that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


def batcher(works: Works, clock: FakeClock, *, size: int = 3, bound: int = 6, by_key: bool = False) -> Batcher:
    """A batcher that waits 20 ms for others."""
    return Batcher(Batch(size, 0.02), works, clock, bound=bound, by_key=by_key)


async def test_a_full_batch_goes_at_once_and_a_lone_event_after_its_wait() -> None:
    works, clock = Works(), FakeClock()
    found = batcher(works, clock)
    for number in range(4):
        await found.add(arrival(number, key=None))
    await turns()
    assert works.started == [[0, 1, 2]]
    await clock.advance(0.019)
    assert works.started == [[0, 1, 2]]
    await clock.advance(0.001)
    assert works.started == [[0, 1, 2], [3]]


async def test_the_bound_counts_events_and_holds_the_stream_back_until_a_batch_ends() -> None:
    works, clock = Works(), FakeClock()
    found = batcher(works, clock)
    for number in range(6):
        await found.add(arrival(number, key=None))
    seventh = asyncio.ensure_future(found.add(arrival(6, key=None)))
    await turns()
    assert not seventh.done()
    assert found.used == 6
    await works.end(1)
    assert seventh.done()
    assert found.used == 4


async def test_an_event_whose_key_is_in_flight_waits_and_others_go_past_it() -> None:
    works, clock = Works(), FakeClock()
    found = batcher(works, clock, size=2, bound=10, by_key=True)
    for number, key in enumerate((b"a", b"b", b"a", b"c", b"a", b"d")):
        await found.add(arrival(number, key=key))
    await turns()
    assert works.started == [[0, 1], [3, 5]]
    await works.end(1)
    assert works.started == [[0, 1], [3, 5]]
    await works.end(0)
    assert works.started == [[0, 1], [3, 5], [2, 4]]


async def test_events_of_one_key_keep_their_order_over_many_batches() -> None:
    works, clock = Works(), FakeClock()
    found = batcher(works, clock, size=2, bound=20, by_key=True)
    for number in range(7):
        await found.add(arrival(number, key=b"a"))
    for index in range(3):
        await turns()
        await works.end(index)
    await clock.advance(0.02)
    assert works.started == [[0, 1], [2, 3], [4, 5], [6]]


async def test_events_without_a_key_are_in_nobodys_way() -> None:
    works, clock = Works(), FakeClock()
    found = batcher(works, clock, size=1, by_key=True)
    for number in range(3):
        await found.add(arrival(number, key=None))
    await turns()
    assert works.started == [[0], [1], [2]]


async def test_a_drain_starts_what_was_collected_and_tells_when_all_is_done() -> None:
    works, clock = Works(), FakeClock()
    found = batcher(works, clock)
    await found.add(arrival(0, key=None))
    drained = asyncio.ensure_future(found.drain(lambda: False))
    await turns()
    assert works.started == [[0]]
    await works.end(0)
    await clock.advance(0.05)
    assert await drained


async def test_a_drain_that_gives_up_leaves_its_events_undone() -> None:
    works, clock = Works(), FakeClock()
    found = batcher(works, clock)
    await found.add(arrival(0, key=None))
    assert not await found.drain(lambda: True)
    await found.cancel()
    assert found.used == 1


async def test_a_bound_below_one_batch_is_refused() -> None:
    with pytest.raises(SettingsError, match="never fill"):
        batcher(Works(), FakeClock(), size=3, bound=2)


async def test_a_run_that_raises_is_told_and_its_events_stay_in_flight() -> None:
    async def breaks(batch: Sequence[Arrival]) -> None:
        raise ValueError("a fault of ours")

    told: list[BaseException] = []
    found = Batcher(Batch(1, 0.0), breaks, FakeClock(), bound=2, by_key=False)
    found.on_fault = told.append
    await found.add(arrival(0))
    await turns()
    assert [str(fault) for fault in told] == ["a fault of ours"]
    assert found.used == 1
