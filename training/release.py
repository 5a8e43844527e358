"""The life of a version as a table of moves; writing rows and loading servers are done by others."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from adapters.database import Release, State
from schemas.errors import Conflict, UserError

Event = Literal["train", "register", "reject", "shadow", "canary", "promote", "roll_back"]
Before = State | Literal[""]
Row = tuple[str, State, float]
"""(version, state, share): what one move writes."""

BEGIN: Before = ""
"""The state of a version that the log does not know."""


@dataclass(frozen=True, slots=True)
class Move:
    """One row: from `state`, `event` leads to `to` where `guard` holds; `action` is what is done besides the row."""

    state: Before
    event: Event
    to: State
    guard: Literal["", "approved", "a version before it"] = ""
    action: str = ""


LOAD = "loaded, ready and warm before the row is written"
RETIRE = f"{LOAD}; the version promoted before is retired"
BACK = "the row first; the version before is promoted again; unloaded 30 s later"

MOVES: tuple[Move, ...] = (
    Move(BEGIN, "train", "TRAINED"),
    Move(BEGIN, "register", "REGISTERED", action="brought by a person"),
    Move(BEGIN, "promote", "PROMOTED", action="the card's own version, when nothing was decided yet"),
    Move("TRAINED", "register", "REGISTERED", action="it passed the gate"),
    Move("TRAINED", "reject", "REJECTED", action="it did not pass the gate"),
    Move("REGISTERED", "reject", "REJECTED", action="a person turned it down"),
    Move("REGISTERED", "shadow", "SHADOW", action=LOAD),
    Move("REGISTERED", "canary", "CANARY", "approved", LOAD),
    Move("REGISTERED", "promote", "PROMOTED", "approved", RETIRE),
    Move("SHADOW", "canary", "CANARY", "approved", LOAD),
    Move("SHADOW", "promote", "PROMOTED", "approved", RETIRE),
    Move("SHADOW", "roll_back", "ROLLED_BACK", action="unloaded 30 s later"),
    Move("CANARY", "canary", "CANARY", "approved", "another share"),
    Move("CANARY", "promote", "PROMOTED", "approved", RETIRE),
    Move("CANARY", "roll_back", "ROLLED_BACK", action="unloaded 30 s later"),
    Move("PROMOTED", "roll_back", "ROLLED_BACK", "a version before it", BACK),
    Move("RETIRED", "promote", "PROMOTED", "approved", RETIRE),
)
TABLE = {(move.state, move.event): move for move in MOVES}

DONE: dict[Event, str] = {
    "train": "trained",
    "register": "registered",
    "reject": "rejected",
    "shadow": "a shadow",
    "canary": "a canary",
    "promote": "promoted",
    "roll_back": "rolled back",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What the release log says of one task: the state of each version, and who was promoted in which order."""

    states: dict[str, State]
    promoted: Sequence[str]

    def state(self, version: str) -> Before:
        """The state of a version; empty for one that the log does not know."""
        return self.states.get(version, BEGIN)

    def serving(self) -> str:
        """The promoted version, or an empty string."""
        return next((version for version, state in self.states.items() if state == "PROMOTED"), "")

    def before(self, version: str) -> str:
        """The version that was promoted last before `version` and may serve again, or an empty string."""
        seen = [other for other in self.promoted if other != version and self.states.get(other) == "RETIRED"]
        return seen[-1] if seen else ""


def standing(log: Iterable[Release], task: str) -> Standing:
    """The state of a task's versions after all decisions of the log (oldest first)."""
    states: dict[str, State] = {}
    promoted: list[str] = []
    for row in log:
        if row.task == task:
            states[row.version] = row.state
            if row.state == "PROMOTED":
                promoted.append(row.version)
    return Standing(states, promoted)


def advance(now: Standing, version: str, event: Event, *, approved: bool = False, share: float = 1.0) -> list[Row]:
    """The rows that a move writes; raises Conflict in a plain sentence for a move that the table does not have or whose
    guard does not hold, and UserError for a share that cannot be served.
    """
    found = now.state(version)
    move = TABLE.get((found, event))
    if move is None:
        was = found.replace("_", " ").lower() if found else "unknown"
        allowed = sorted({DONE[other] for state, other in TABLE if state == found})
        raise Conflict(
            f"Version {version} is {was}, so it cannot be {DONE[event]}; from there it can be: "
            f"{', '.join(allowed) or 'nothing'}."
        )
    if move.guard == "approved" and not approved:
        raise Conflict(f"Version {version} must be approved by a person before it can be {DONE[event]}.")
    if event == "canary" and not 0 < share < 1:
        raise UserError("A canary takes more than 0 and less than 1 of the subjects, for example --share 0.1.")
    if event == "roll_back" and found == "PROMOTED":
        before = now.before(version)
        if not before:
            raise Conflict(f"There is no version before {version} to go back to.")
        return [(version, "ROLLED_BACK", 0.0), (before, "PROMOTED", 1.0)]
    rows: list[Row] = []
    if event == "promote" and now.serving():
        rows.append((now.serving(), "RETIRED", 0.0))
    if event == "promote":
        # One version is tried at a time: what was a canary while another is promoted would keep its subjects.
        rows += [(v, "ROLLED_BACK", 0.0) for v, state in now.states.items() if state == "CANARY" and v != version]
    shares = {"CANARY": share, "PROMOTED": 1.0}
    rows.append((version, move.to, shares.get(move.to, 0.0)))
    return rows


def to_keep_loaded(now: Standing) -> list[str]:
    """The versions that the servers must hold: those that answer, and the one that a rollback would go back to."""
    wanted = [version for version, state in now.states.items() if state in {"PROMOTED", "CANARY", "SHADOW"}]
    before = now.before(now.serving()) if now.serving() else ""
    return [*wanted, *([before] if before else [])]
