"""The states of a study: every pair of state and event has its row, and the facts decide which event it is (CC10)."""

from itertools import product
from typing import Any, get_args

import pytest

from schemas.errors import Conflict
from schemas.studies import MOVES, Facts, Move, Quiet, StudyEvent, StudyState, judged, move

CLOSED = ("complete", "assumed", "incomplete")
FORBIDDEN: set[Any] = {(state, event) for state in CLOSED for event in ("quiet", "overdue")}


def test_every_pair_of_state_and_event_is_a_move_or_forbidden() -> None:
    pairs = set(product(get_args(StudyState), get_args(StudyEvent)))
    assert {*MOVES, *FORBIDDEN} == pairs
    assert not set(MOVES) & FORBIDDEN
    for state, event in FORBIDDEN:
        with pytest.raises(Conflict):
            move(state, event)


@pytest.mark.parametrize("state", CLOSED)
def test_whatever_closed_a_study_a_late_object_opens_its_next_revision(state: Any) -> None:
    assert move(state, "arrived") == Move("receiving", again=True)


def facts(**changes: Any) -> Facts:
    values: dict[str, Any] = {
        "received": 3,
        "expectations": {},
        "listed": 0,
        "missing": 0,
        "silent_s": 0.0,
        "released": False,
    }
    return Facts(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "event", "why"),
    [
        ({}, None, ""),
        ({"silent_s": 59.9}, None, ""),
        ({"silent_s": 60.0}, "quiet", "quiet period"),
        ({"silent_s": 9.9, "released": True}, None, ""),
        ({"silent_s": 10.0, "released": True}, "quiet", "association"),
        ({"expectations": {"related_instances": 3}}, "counted", "related_instances"),
        ({"expectations": {"related_instances": 4}}, "short", "related_instances"),
        ({"expectations": {"related_instances": 4}, "silent_s": 60.0}, "overdue", "related_instances"),
        ({"expectations": {"related_instances": 3, "pacs": 4}}, "short", "pacs"),
        ({"expectations": {"commitment": 3, "pacs": 9}}, "counted", "commitment"),
        ({"listed": 3}, "counted", "list"),
        ({"listed": 3, "missing": 1}, "short", "list"),
        ({"listed": 3, "missing": 1, "silent_s": 60.0}, "overdue", "list"),
    ],
)
def test_what_was_expected_counts_before_silence(changes: dict[str, Any], event: str | None, why: str) -> None:
    assert judged(facts(**changes), Quiet(60.0, 10.0)) == (event, why)
