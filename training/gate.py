"""Whether a candidate may be registered: its figures against the card's floor and against the serving version."""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.card import Gate
from schemas.errors import UserError

Figure = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Judgement:
    """`passed`, and in words why."""

    passed: bool
    why: str


def judge(gate: Gate, candidate: Mapping[str, Figure], serving: Mapping[str, Figure], against: str) -> Judgement:
    """Judges figures (value, low, high) that were measured on the same frozen hold-out.

    `against` names the serving version. Raises UserError when the gate's metric was not measured.
    """
    if gate.metric not in candidate or gate.metric not in serving:
        raise UserError(f"The gate asks for {gate.metric}, which the hold-out did not give.")
    mine, theirs = candidate[gate.metric][0], serving[gate.metric][0]
    said = f"{gate.metric} {mine:.3f} on the frozen hold-out, {against} {theirs:.3f}"
    if not mine >= gate.floor:
        return Judgement(False, f"below the floor of {gate.floor:g}: {said}")
    needed = theirs + gate.margin_over_serving
    if not mine >= needed:
        more = f" by {gate.margin_over_serving:g}" if gate.margin_over_serving else ""
        return Judgement(False, f"not better than the serving version{more}: {said}")
    return Judgement(True, said)
