"""The states of a study as one sender sent it, the table of moves between them, and what decides them; no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from schemas.errors import Conflict

StudyState = Literal["receiving", "complete", "assumed", "incomplete"]
StudyEvent = Literal["arrived", "counted", "quiet", "overdue", "short"]
Source = Literal["list", "commitment", "pacs", "related_instances"]

OPEN: StudyState = "receiving"
SOURCES: tuple[Source, ...] = ("list", "commitment", "pacs", "related_instances")
"""Where a number of objects may come from, the most trusted first."""


@dataclass(frozen=True, slots=True)
class Move:
    """Where an event leads; `again`: the study was closed and is opened as its next revision."""

    to: StudyState
    again: bool = False


MOVES: Mapping[tuple[StudyState, StudyEvent], Move] = {
    ("receiving", "arrived"): Move("receiving"),
    ("receiving", "short"): Move("receiving"),
    ("receiving", "counted"): Move("complete"),
    ("receiving", "quiet"): Move("assumed"),
    ("receiving", "overdue"): Move("incomplete"),
    ("complete", "arrived"): Move("receiving", again=True),
    ("complete", "short"): Move("receiving", again=True),
    ("complete", "counted"): Move("complete"),
    ("assumed", "arrived"): Move("receiving", again=True),
    ("assumed", "short"): Move("receiving", again=True),
    ("assumed", "counted"): Move("complete"),
    ("incomplete", "arrived"): Move("receiving", again=True),
    ("incomplete", "short"): Move("incomplete"),
    ("incomplete", "counted"): Move("complete"),
}
"""`arrived`: an object that was not there; `counted`: all that was expected is there; `short`: something expected is
not; `quiet`: nothing more came and nothing was expected; `overdue`: nothing more came although it was expected."""


def move(state: StudyState, event: StudyEvent) -> Move:
    """The row of the table; raises Conflict where there is none."""
    found = MOVES.get((state, event))
    if found is None:
        raise Conflict(f"a study that is {state} cannot be {event}")
    return found


@dataclass(frozen=True, slots=True)
class Quiet:
    """Seconds without a new object after which a study is closed: by itself, and once its association ended."""

    alone_s: float = 60.0
    released_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a study and sender. `missing` counts listed objects that are not there; `silent_s` is the time
    since something came; `released`: the sender ended its association in order after that."""

    received: int
    expectations: Mapping[str, int]
    listed: int
    missing: int
    silent_s: float
    released: bool


def expected(expectations: Mapping[str, int]) -> tuple[int | None, str]:
    """The number that counts, and where it comes from; (None, "") where nobody said any."""
    return next(((expectations[each], each) for each in SOURCES if each in expectations), (None, ""))


def judged(facts: Facts, quiet: Quiet) -> tuple[StudyEvent | None, str]:
    """What has become of a study, and why in words of ours; None while one has to wait."""
    number, source = expected(facts.expectations)
    if number is not None or facts.listed:
        if facts.missing == 0 and facts.received >= (number or 0):
            return "counted", source or "list"
        return ("overdue", source or "list") if facts.silent_s >= quiet.alone_s else ("short", source or "list")
    if facts.released and facts.silent_s >= quiet.released_s:
        return "quiet", "association"
    return ("quiet", "quiet period") if facts.silent_s >= quiet.alone_s else (None, "")
