"""How GlucoBench's protocol divides readings, on cases worked out by hand."""

import numpy as np
import pytest

from schemas.errors import UserError
from training.glucobench import protocol
from training.glucobench.judged import MEASURES, Errors, judge, ratio_interval
from training.glucobench.protocol import AHEAD, Piece, Protocol, Segment
from triton_models.series import Series

ASKED = Protocol(gap_min=30, min_segment=4, test_segment=20, max_input=15)


def readings(*times_min: float) -> Series:
    """One reading at each minute, 100 mg/dL plus the minute."""
    times = np.array(times_min, dtype=np.float64)
    return Series("w", times * 60.0, 100.0 + times)


def segment(steps: int, start_s: float = 0.0) -> Segment:
    return Segment(start_s, np.arange(steps, dtype=np.float64))


def test_a_gap_of_more_than_the_limit_cuts_and_one_of_the_limit_does_not() -> None:
    """GL1: 0, 5, 35 is one segment with a gap of 30 min interpolated; 66 begins another."""
    found = protocol.segments(readings(0, 5, 35, 66, 71, 76, 81), ASKED)
    assert [(each.start_s, len(each)) for each in found] == [(0.0, 8), (66 * 60.0, 4)]
    np.testing.assert_allclose(found[0].glucose_mg_dl, [100, 105, 110, 115, 120, 125, 130, 135])


def test_a_segment_of_fewer_steps_than_asked_for_is_left_out() -> None:
    """GL1: three steps are fewer than four."""
    assert protocol.segments(readings(0, 5, 10), ASKED) == []
    assert len(protocol.segments(readings(0, 5, 10, 15), ASKED)) == 1


def test_readings_off_the_grid_are_interpolated_onto_it() -> None:
    """GL1: the grid starts at the segment's first reading and ends before its last."""
    found = protocol.segments(readings(1, 7, 12, 18, 22), ASKED)
    np.testing.assert_allclose(found[0].glucose_mg_dl, [101, 106, 111, 116, 121])


def test_the_end_of_a_long_segment_is_the_test_and_what_lies_before_it_validation() -> None:
    """GL4: of 100 steps 80..99 are tested, 60..79 validate, each with 15 steps of context; 0..59 train."""
    only = segment(100)
    found = protocol.divide([only], ASKED)
    assert list(found.test) == [Piece(only, 65, 80, 100)]
    assert list(found.validation) == [Piece(only, 45, 60, 80)]
    assert list(found.train) == [Piece(only, 0, 0, 60)]


def test_a_last_segment_shorter_than_input_and_two_tests_is_the_test_as_a_whole() -> None:
    """GL4: 54 < 15 + 2 * 20, so the segment before it validates; with 55 it is divided itself."""
    earlier, short, enough = segment(70), segment(54, 1e6), segment(55, 1e6)
    found = protocol.divide([earlier, short], ASKED)
    assert list(found.test) == [Piece(short, 0, 0, 54)]
    assert list(found.validation) == [Piece(earlier, 35, 50, 70)]
    assert list(found.train) == [Piece(earlier, 0, 0, 50)]
    found = protocol.divide([earlier, enough], ASKED)
    assert list(found.test) == [Piece(enough, 20, 35, 55)]
    assert list(found.train) == [Piece(earlier, 0, 0, 70), Piece(enough, 0, 0, 15)]


def test_a_short_only_segment_is_divided_as_far_as_it_goes() -> None:
    """GL4: 30 steps: 10..29 tested, 0..9 validate, nothing is left to train."""
    only = segment(30)
    found = protocol.divide([only], ASKED)
    assert list(found.test) == [Piece(only, 0, 10, 30)]
    assert list(found.validation) == [Piece(only, 0, 0, 10)]
    assert list(found.train) == []


def test_windows_of_an_hour_lie_half_an_hour_apart_with_the_input_before_them() -> None:
    """GL1: of 24 test steps from 80 on, windows begin at 80, 86 and 92; the next would end outside."""
    piece = Piece(segment(104), 65, 80, 104)
    np.testing.assert_array_equal(protocol.origins(piece, 15, 6), [80, 86, 92])
    windows = protocol.cut([(3, Piece(segment(104), 0, 80, 104))], Protocol(30, 4, 24, 100), 6)
    assert windows.rows.shape == (2, 100)  # at least 84 steps must lie before: 84 and 90
    assert windows.truth.shape == (2, AHEAD)
    np.testing.assert_array_equal(windows.truth[1], np.arange(90, 102))
    np.testing.assert_array_equal(windows.rows[1, 10:], np.arange(90))
    assert np.isnan(windows.rows[0, :16]).all()  # nothing was measured before the piece began
    np.testing.assert_array_equal(windows.newest_s, [83 * 300.0, 89 * 300.0])
    np.testing.assert_array_equal(windows.subject, [3, 3])


def test_a_tenth_of_the_subjects_is_out_of_distribution_by_the_seed() -> None:
    """GL1: three of 30, one of four, nobody of one; another seed, others."""
    assert [len(protocol.outside(many, 0)) for many in (30, 4, 1)] == [3, 1, 0]
    assert protocol.outside(30, 0) == protocol.outside(30, 0) != protocol.outside(30, 1)


@pytest.mark.parametrize("seed", range(20))
def test_no_tested_hour_is_learnt_from(seed: int) -> None:
    """GL4: whatever the segments' lengths, training, validation and test targets of a subject share no step."""
    rng = np.random.default_rng(seed)
    everyone = [
        [segment(int(rng.integers(4, 120)), 1e6 * place) for place in range(rng.integers(1, 5))] for _ in range(12)
    ]
    for found in everyone:
        divided = protocol.divide(found, ASKED)
        taken = [
            (piece.segment.start_s, step)
            for part in (divided.train, divided.validation, divided.test)
            for piece in part
            for step in range(piece.first, piece.stop)
        ]
        assert len(taken) == len(set(taken)) == sum(len(each) for each in found)
        for piece in (*divided.validation, *divided.test):
            assert piece.first - piece.start <= ASKED.max_input


def test_nobody_out_of_distribution_is_learnt_from() -> None:
    """GL4: their windows are tested, and no part of the others holds them."""
    everyone = [[segment(150)] for _ in range(10)]
    parts = protocol.parts(everyone, ASKED, 3, 10_000)
    away = protocol.outside(10, 3)
    assert set(parts.outside.subject) == away
    for part in (parts.train, parts.validation, parts.inside):
        assert not set(part.subject) & away


def test_a_file_too_short_for_any_window_says_so() -> None:
    """GL4: the message names the part and the sizes."""
    with pytest.raises(UserError, match="too short"):
        protocol.parts([[segment(30)], [segment(30)]], ASKED, 0, 10)


def test_the_four_errors_by_hand() -> None:
    """GL5: windows that are off by 1, 2 and 6 everywhere: squares 1, 4, 36."""
    truth = np.zeros((3, AHEAD))
    errors = judge(truth, truth + np.array([[1.0], [-2.0], [6.0]]))
    assert MEASURES["median_rmse"](errors) == 2.0
    assert MEASURES["median_mae"](errors) == 2.0
    assert MEASURES["mean_rmse"](errors) == pytest.approx(np.sqrt(41 / 3))
    assert MEASURES["mean_mae"](errors) == 3.0


def test_the_interval_of_a_ratio_resamples_people() -> None:
    """GL5: two people with ratios 1 and 3: the interval reaches from one to the other."""
    ours = Errors(np.ones(20), np.ones(20))
    other = Errors(np.repeat([1.0, 9.0], 10), np.repeat([1.0, 3.0], 10))
    assert ratio_interval(ours, other, "median_mae", np.repeat([0, 1], 10)) == (1.0, 3.0)
    assert all(np.isnan(ratio_interval(ours, other, "median_mae", np.zeros(20))))
