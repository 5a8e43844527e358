"""A wearer's own read waits for what the same wearer has just sent, and no longer than it must."""

import asyncio
from uuid import uuid4

from adapters.fakes.clock import FakeClock
from adapters.fakes.shelf import FakeShelf
from producers.pending import READINGS, Pending
from tests.support.glucose import reading


async def test_a_read_waits_until_the_reading_is_recorded() -> None:
    clock = FakeClock()
    shelf, pending, sent = FakeShelf(clock), Pending(clock, 2.0), reading()
    pending.note(sent.subject_id, {sent.event_id: round(sent.measured_at.timestamp() * 1000)})
    assert pending.holds(sent.subject_id, sent.event_id)
    asked = asyncio.ensure_future(pending.settle(sent.subject_id, shelf))
    await clock.advance(0.3)
    assert not asked.done()
    shelf.record(sent)
    await clock.advance(0.3)
    assert asked.done()
    assert not pending.holds(sent.subject_id, sent.event_id)


async def test_a_read_gives_up_after_its_time_and_never_waits_for_another_wearer() -> None:
    clock = FakeClock()
    shelf, pending = FakeShelf(clock), Pending(clock, 2.0)
    pending.note("sub-1", {uuid4(): number for number in range(READINGS + 50)})
    await pending.settle("sub-2", shelf)
    asked = asyncio.ensure_future(pending.settle("sub-1", shelf))
    await clock.advance(1.9)
    assert not asked.done()
    await clock.advance(0.3)
    assert asked.done()
    await pending.settle("sub-1", shelf)
