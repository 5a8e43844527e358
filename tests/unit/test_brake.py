"""The brake engages when most of the last events failed, holds through a restart, and is released by a person."""

from pathlib import Path

import pytest

from adapters.fakes.clock import FakeClock
from consumers import brake as room
from consumers.brake import Brake

LANE = "imaging-infer.routine"


def brake(home: Path, looks: list[int] | None = None) -> Brake:
    """The brake of a process of the lane."""
    return Brake(LANE, home, FakeClock(), lambda: looks.append(1) if looks is not None else None)


@pytest.mark.parametrize(
    ("events", "engaged"),
    [
        ([True] * 19, False),
        ([True] * 20, True),
        ([False] * 20 + [True] * 20, False),
        ([False] * 20 + [True] * 21, True),
        ([True] * 30 + [False] * 60, True),
        ([False] * 80 + [True] * 50, False),
        ([False] * 80 + [True] * 51, True),
    ],
)
def test_it_engages_at_twenty_failures_that_are_more_than_half_of_the_last_hundred(
    tmp_path: Path, events: list[bool], engaged: bool
) -> None:
    found = brake(tmp_path)
    for failed in events:
        found.note([failed])
    assert found.engaged is engaged
    assert room.braked_lanes(tmp_path) == ([LANE] if engaged else [])


def test_a_restarted_process_and_its_siblings_stay_braked(tmp_path: Path) -> None:
    running = brake(tmp_path)
    brake(tmp_path).note([True] * 20)
    assert brake(tmp_path).engaged
    assert not running.engaged
    running.look()
    assert running.engaged


async def test_resume_lets_the_lane_go_on_with_a_clean_slate(tmp_path: Path) -> None:
    looks: list[int] = []
    found = brake(tmp_path, looks)
    found.note([True] * 20)
    assert room.release(tmp_path, LANE)
    assert not room.release(tmp_path, LANE)
    found.look()
    await found.released()
    assert not found.note([True] * 19)
    assert looks, "a braked lane must not look stalled to the watchdog"


def test_a_lane_that_is_not_braked_shows_no_progress_by_being_looked_at(tmp_path: Path) -> None:
    """It once did, and the watchdog never bit."""
    looks: list[int] = []
    brake(tmp_path, looks).look()
    assert looks == []
