"""What counts as progress, and when a process is told to end."""

from adapters.fakes.clock import FakeClock
from consumers.watchdog import Standing, Watchdog

ONE, OTHER = ("work.stat", 0), ("work.stat", 1)


def at(position: int, in_flight: int, place: tuple[str, int] = ONE) -> list[Standing]:
    """One partition's standing."""
    return [Standing(place, position, in_flight)]


async def test_an_idle_lane_without_lag_is_never_stalled() -> None:
    clock = FakeClock()
    dog = Watchdog(clock)
    for _ in range(100):
        await clock.advance(10)
        assert dog.see(at(5, 0), lag=0, assigned=2) == ""


async def test_work_in_flight_whose_position_stands_still_for_a_minute_is_stalled() -> None:
    clock = FakeClock()
    dog = Watchdog(clock)
    assert dog.see(at(5, 3), lag=3, assigned=1) == ""
    await clock.advance(60)
    assert dog.see(at(5, 3), lag=3, assigned=1) == ""
    await clock.advance(1)
    assert "stuck at 5" in dog.see(at(5, 3), lag=3, assigned=1)


async def test_one_event_that_hangs_is_found_though_other_partitions_go_on() -> None:
    clock = FakeClock()
    dog = Watchdog(clock)
    verdict = ""
    for second in range(0, 80, 10):
        verdict = dog.see(at(5, 1) + at(second, 1, OTHER), lag=2, assigned=2)
        await clock.advance(10)
    assert "work.stat-0" in verdict


async def test_lag_that_nothing_comes_through_for_is_stalled() -> None:
    clock = FakeClock()
    dog = Watchdog(clock)
    dog.see(at(5, 0), lag=9, assigned=1)
    await clock.advance(61)
    assert "9 events wait" in dog.see(at(5, 0), lag=9, assigned=1)


async def test_a_lane_that_works_through_its_lag_is_not_stalled() -> None:
    clock = FakeClock()
    dog = Watchdog(clock)
    for position in range(20):
        assert dog.see(at(position, 4), lag=1000, assigned=1) == ""
        await clock.advance(30)


async def test_probes_of_a_parked_lane_are_progress() -> None:
    clock = FakeClock()
    dog = Watchdog(clock)
    for _ in range(300):
        dog.touch()
        assert dog.see(at(5, 16), lag=500, assigned=1) == ""
        await clock.advance(1)
    await clock.advance(61)
    assert dog.see(at(5, 16), lag=500, assigned=1) != ""


async def test_a_process_that_loses_all_partitions_for_a_minute_ends() -> None:
    clock = FakeClock()
    dog = Watchdog(clock)
    assert dog.see([], lag=0, assigned=2) == ""
    await clock.advance(60)
    assert dog.see([], lag=0, assigned=0) == ""
    await clock.advance(1)
    assert "no partition" in dog.see([], lag=0, assigned=0)


async def test_an_event_taken_after_a_long_idle_time_has_its_full_minute() -> None:
    clock = FakeClock()
    dog = Watchdog(clock)
    dog.see(at(5, 0), lag=0, assigned=1)
    await clock.advance(3600)
    dog.see(at(5, 0), lag=0, assigned=1)
    await clock.advance(1)
    assert dog.see(at(5, 1), lag=1, assigned=1) == ""
