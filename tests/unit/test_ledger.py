"""The offset ledger's manners that the properties do not show."""

import pytest

from consumers.ledger import Hole, OffsetLedger

ONE = ("work.stat", 0)
OTHER = ("work.stat", 1)


def test_a_partition_of_which_nothing_was_taken_has_no_position() -> None:
    ledger = OffsetLedger()
    assert ledger.position(ONE) is None
    ledger.done(ONE, 5)
    assert ledger.position(ONE) is None
    assert ledger.places() == []


def test_a_slow_event_holds_its_own_partition_and_no_other() -> None:
    ledger = OffsetLedger()
    for offset in (7, 8, 9):
        ledger.took(ONE, offset)
        ledger.took(OTHER, offset)
    for offset in (8, 9):
        ledger.done(ONE, offset)
    for offset in (7, 8, 9):
        ledger.done(OTHER, offset)
    assert ledger.position(ONE) == 7
    assert ledger.position(OTHER) == 10


def test_events_of_another_lane_move_the_position_over_them() -> None:
    ledger = OffsetLedger()
    ledger.took(ONE, 1)
    ledger.passed(ONE, 2)
    assert ledger.position(ONE) == 1
    ledger.done(ONE, 1)
    assert ledger.position(ONE) == 3


def test_a_forgotten_partition_ignores_what_was_still_in_flight() -> None:
    ledger = OffsetLedger()
    ledger.took(ONE, 1)
    ledger.forget([ONE])
    ledger.done(ONE, 1)
    assert ledger.position(ONE) is None


def test_an_event_taken_again_is_in_flight_once() -> None:
    ledger = OffsetLedger()
    ledger.took(ONE, 1)
    ledger.took(ONE, 1)
    ledger.done(ONE, 1)
    assert ledger.position(ONE) == 2
    assert ledger.in_flight(ONE) == 0


def test_records_that_were_never_handed_over_are_noticed_and_never_committed() -> None:
    """Faust drops what it has fetched when a rebalance is under way; it must come again."""
    ledger = OffsetLedger()
    ledger.took(ONE, 4)
    ledger.done(ONE, 4)
    with pytest.raises(Hole, match="from 4 to 6"):
        ledger.took(ONE, 6)
    with pytest.raises(Hole):
        ledger.passed(ONE, 7)
    assert ledger.position(ONE) == 5


def test_reading_may_start_anywhere_after_an_assignment() -> None:
    ledger = OffsetLedger()
    ledger.took(ONE, 4)
    ledger.forget([ONE])
    ledger.took(ONE, 90)
    assert ledger.position(ONE) == 90
