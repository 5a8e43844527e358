"""The gate before the registry: a floor, and the serving version on the same frozen hold-out (GL13, CC6)."""

import pytest

from schemas.card import Gate
from schemas.errors import UserError
from training.gate import judge

FLOOR = Gate(metric="auroc", floor=0.75)
MARGIN = Gate(metric="auroc", floor=0.5, margin_over_serving=0.01)


def figures(value: float) -> dict[str, tuple[float, float, float]]:
    """One figure with its interval."""
    return {"auroc": (value, value - 0.02, value + 0.02)}


@pytest.mark.parametrize(
    ("gate", "candidate", "serving", "passed", "why"),
    [
        (FLOOR, 0.80, 0.78, True, "auroc 0.800"),
        (FLOOR, 0.78, 0.78, True, "auroc 0.780"),
        (FLOOR, 0.74, 0.70, False, "below the floor of 0.75"),
        (FLOOR, 0.77, 0.78, False, "not better than the serving version"),
        (MARGIN, 0.785, 0.78, False, "not better than the serving version by 0.01"),
        (MARGIN, 0.795, 0.78, True, "serving 1.0.0 0.780"),
        (FLOOR, float("nan"), 0.78, False, "below the floor"),
    ],
)
def test_a_candidate_passes_above_the_floor_and_not_below_what_serves(
    gate: Gate, candidate: float, serving: float, passed: bool, why: str
) -> None:
    verdict = judge(gate, figures(candidate), figures(serving), "serving 1.0.0")
    assert verdict.passed is passed
    assert why in verdict.why


def test_a_metric_that_was_not_measured_is_an_error_and_not_a_pass() -> None:
    with pytest.raises(UserError, match="asks for auroc"):
        judge(FLOOR, {"accuracy": (0.9, 0.8, 1.0)}, figures(0.5), "serving 1.0.0")
