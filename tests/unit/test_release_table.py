"""The life of a version: every move that the table allows, every one that it forbids (S5, GL11)."""

from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import get_args

import pytest

from adapters.database import Release, State
from schemas.errors import Conflict, UserError
from training import release
from training.release import BEGIN, MOVES, TABLE, Event, Standing

AT = datetime(2026, 1, 1, tzinfo=UTC)
STATES = ("", *get_args(State))
PAIRS = [(state, event) for state in STATES for event in get_args(Event)]


def at(state: str) -> Standing:
    """Version 2.0.0 in a state, beside a serving 1.0.0 (or retired, where 2.0.0 itself serves)."""
    first: State = "RETIRED" if state == "PROMOTED" else "PROMOTED"
    states: dict[str, State] = {"1.0.0": first}
    if state:
        states["2.0.0"] = state  # type: ignore[assignment]  # the parameter is one of the states
    return Standing(states, ["1.0.0", *(["2.0.0"] if state in {"PROMOTED", "RETIRED"} else [])])


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair in TABLE])
def test_an_allowed_move_ends_in_the_state_that_the_table_says(state: release.Before, event: Event) -> None:
    rows = release.advance(at(state), "2.0.0", event, approved=True, share=0.5)
    assert [row[1] for row in rows if row[0] == "2.0.0"] == [TABLE[state, event].to]


@pytest.mark.parametrize(("state", "event"), [pair for pair in PAIRS if pair not in TABLE])
def test_a_forbidden_move_is_refused_with_what_would_be_possible(state: str, event: Event) -> None:
    with pytest.raises(Conflict, match=r"cannot be .*; from there it can be: "):
        release.advance(at(state), "2.0.0", event, approved=True, share=0.5)


@pytest.mark.parametrize(
    "move", [move for move in MOVES if move.guard == "approved"], ids=lambda m: f"{m.state}-{m.event}"
)
def test_what_needs_a_person_is_refused_without_one(move: release.Move) -> None:
    """ME12: a person approves where the card says so."""
    with pytest.raises(Conflict, match="approved by a person"):
        release.advance(at(move.state), "2.0.0", move.event, share=0.5)


def test_a_promotion_retires_the_one_before_and_ends_other_trials_in_the_same_decision() -> None:
    now = Standing({"1.0.0": "PROMOTED", "1.1.0": "CANARY", "2.0.0": "REGISTERED"}, ["1.0.0"])
    assert release.advance(now, "2.0.0", "promote", approved=True) == [
        ("1.0.0", "RETIRED", 0.0),
        ("1.1.0", "ROLLED_BACK", 0.0),
        ("2.0.0", "PROMOTED", 1.0),
    ]


def test_a_rollback_of_the_promoted_version_brings_back_the_one_before_and_never_one_rolled_back_earlier() -> None:
    states: dict[str, State] = {"1.0.0": "RETIRED", "1.1.0": "ROLLED_BACK", "2.0.0": "PROMOTED"}
    now = Standing(states, ["1.0.0", "1.1.0", "2.0.0"])
    assert release.advance(now, "2.0.0", "roll_back") == [("2.0.0", "ROLLED_BACK", 0.0), ("1.0.0", "PROMOTED", 1.0)]


def test_the_first_version_has_nothing_to_go_back_to() -> None:
    with pytest.raises(Conflict, match="no version before"):
        release.advance(Standing({"1.0.0": "PROMOTED"}, ["1.0.0"]), "1.0.0", "roll_back")


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5])
def test_a_canary_takes_a_part_of_the_subjects(share: float) -> None:
    with pytest.raises(UserError, match="canary"):
        release.advance(at("REGISTERED"), "2.0.0", "canary", approved=True, share=share)


def test_servers_keep_what_answers_and_what_a_rollback_needs() -> None:
    states: dict[str, State] = {"1.0.0": "RETIRED", "1.1.0": "RETIRED", "2.0.0": "PROMOTED", "2.1.0": "CANARY"}
    assert set(release.to_keep_loaded(Standing(states, ["1.0.0", "1.1.0", "2.0.0"]))) == {"2.0.0", "2.1.0", "1.1.0"}


def test_the_log_is_folded_by_task_and_the_newest_row_of_a_version_is_its_state() -> None:
    epochs = count(1)

    def row(task: str, version: str, state: State) -> Release:
        return Release(next(epochs), task, version, state, 1.0, AT, "t", "t")

    log = [row("a", "1.0.0", "PROMOTED"), row("b", "9.0.0", "PROMOTED"), row("a", "1.0.0", "RETIRED")]
    found = release.standing([*log, row("a", "1.1.0", "PROMOTED")], "a")
    assert (found.states, found.serving()) == ({"1.0.0": "RETIRED", "1.1.0": "PROMOTED"}, "1.1.0")
    assert found.state("7.0.0") == BEGIN


def test_the_page_on_learning_shows_the_table_as_it_is() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "learning.md").read_text()
    shown = [line for line in page.splitlines() if line.startswith("| ") and line.count("|") == 6][1:]
    assert shown == [
        f"| {move.state or '–'} | {move.event} | {move.to} | {move.guard or '–'} | {move.action or '–'} |"
        for move in MOVES
    ]
