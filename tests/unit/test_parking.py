"""Parking: one batch probes, the others wait, and all go on when it succeeds."""

import asyncio

import pytest

from adapters.fakes.clock import FakeClock
from consumers.parking import Parking, back_off, reason_of
from schemas.errors import BrokerUnavailable, DatabaseUnavailable, Overloaded, ServerDown, StoreUnavailable, Unavailable
from tests.unit.test_batching import turns


class Batch:
    """Waits in the parking and notes each time that it may try."""

    def __init__(self, parking: Parking) -> None:
        self._parking = parking
        self.tries = 0
        self.task = asyncio.ensure_future(self._work())
        self.well = asyncio.Event()

    async def _work(self) -> None:
        while True:
            await self._parking.wait(self, "triton")
            self.tries += 1
            if self.well.is_set():
                self._parking.over(self)
                return


async def test_only_one_batch_tries_each_second_and_the_lane_goes_on_when_it_succeeds() -> None:
    clock = FakeClock()
    probes: list[float] = []
    parking = Parking("infer", clock, lambda: probes.append(clock.time()))
    first, second = Batch(parking), Batch(parking)
    await turns()
    assert parking.parked
    await clock.advance(3.5)
    assert (first.tries, second.tries) == (3, 0)
    assert len(probes) == 3
    first.well.set()
    second.well.set()
    await clock.advance(1)
    assert first.task.done()
    assert second.tries == 1
    await asyncio.wait_for(parking.passable(), 1)
    assert parking.reason == ""
    second.task.cancel()


async def test_when_the_probing_batch_is_cancelled_another_one_probes() -> None:
    clock = FakeClock()
    parking = Parking("infer", clock, lambda: None)
    first, second = Batch(parking), Batch(parking)
    await turns()
    first.task.cancel()
    await turns()
    parking.over(first, well=False)
    await clock.advance(1)
    assert second.tries == 1
    assert parking.parked
    second.task.cancel()


async def test_the_stream_waits_while_the_lane_is_parked() -> None:
    clock = FakeClock()
    parking = Parking("infer", clock, lambda: None)
    parking.park("broker")
    passing = asyncio.ensure_future(parking.passable())
    await turns()
    assert not passing.done()
    parking.resume()
    await turns()
    assert passing.done()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BrokerUnavailable(), "broker"),
        (DatabaseUnavailable(), "database"),
        (StoreUnavailable(), "store"),
        (ServerDown(), "triton"),
        (Overloaded(), "overloaded"),
        (Unavailable(), "unknown"),
    ],
)
def test_the_reason_is_one_word_of_a_fixed_set(error: Unavailable, reason: str) -> None:
    assert reason_of(error) == reason


def test_back_off_doubles_to_five_seconds_and_is_spread() -> None:
    assert [back_off(tries, lambda: 1.0) for tries in (1, 2, 3, 7, 50)] == [0.1, 0.2, 0.4, 5.0, 5.0]
    assert back_off(1, lambda: 0.0) == 0.05
