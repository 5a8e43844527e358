"""Served tensors to findings: label by threshold, abstention by band (CC26)."""

from dataclasses import replace

import numpy as np
import pytest

from schemas.card import OperatingPoint
from schemas.errors import StepFailed
from triton_models.chest_xray.card import CARD as SHIPPED
from triton_models.chest_xray.decode import decode

POINT = OperatingPoint(0.4, (0.9, 0.8, 1.0), (0.9, 0.8, 1.0), "nothing")
CARD = replace(SHIPPED, operating_point=POINT, abstention_band=(0.3, 0.6))


def rows(*scores: float) -> dict[str, np.ndarray]:
    ill = np.array(scores, np.float32)
    return {"probability": np.stack([1 - ill, ill], axis=1)}


def test_each_row_gets_its_label_score_and_probabilities() -> None:
    low, high = decode(rows(0.125, 0.875), CARD)
    assert (low.label, low.score, low.probabilities) == ("normal", 0.125, {"normal": 0.875, "pneumonia": 0.125})
    assert (high.label, high.score, high.threshold) == ("pneumonia", 0.875, 0.4)


def test_the_threshold_itself_is_positive() -> None:
    exact = replace(CARD, operating_point=replace(POINT, threshold=0.5))
    assert decode(rows(0.5), exact)[0].label == "pneumonia"


def test_scores_in_the_band_abstain_and_keep_their_label() -> None:
    found = decode(rows(0.25, 0.35, 0.5, 0.75), CARD)
    assert [finding.abstained for finding in found] == [False, True, True, False]
    assert [finding.label for finding in found] == ["normal", "normal", "pneumonia", "pneumonia"]


def test_the_places_of_a_finding_come_with_it_and_none_with_an_answer_of_normal() -> None:
    """ME5: a lower right quarter that stands out becomes the heat map's maximum and the first region."""
    grid = np.full((4, 4), -3.0, np.float32)
    grid[2:, 2:] = 2.0
    grid[0, 0] = 1.5
    found, none = decode({**rows(0.9, 0.1), "places": np.stack([grid, grid])}, CARD)
    assert (none.heat, none.regions) == (None, ())
    assert found.heat is not None
    assert (found.heat.rows, found.heat.columns, found.heat.percent[-1], found.heat.percent[1]) == (4, 4, 100, 0)
    quarter, corner = found.regions
    assert quarter.outline == ((0.5625, 0.5625), (1.0, 0.5625), (1.0, 1.0), (0.5625, 1.0))
    assert quarter.score == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-4)
    assert corner.outline[0] == (0.0, 0.0)
    assert corner.score < quarter.score


@pytest.mark.parametrize("grid", [np.full((4, 4), 2.0), np.full((4, 4), np.nan)])
def test_a_map_that_tells_nothing_gives_no_regions(grid: np.ndarray) -> None:
    """ME5: the answer stands without it."""
    (found,) = decode({**rows(0.9), "places": grid[None].astype(np.float32)}, CARD)
    assert (found.label, found.heat, found.regions) == ("pneumonia", None, ())


def test_an_empty_batch_has_no_findings() -> None:
    assert decode({"probability": np.empty((0, 2), np.float32)}, CARD) == []


@pytest.mark.parametrize(
    "wrong",
    [np.array([[0.5, 0.5, 0.0]]), np.array([[0.9, 0.9]]), np.array([[np.nan, 0.5]]), np.array([0.5, 0.5])],
)
def test_what_is_no_distribution_over_the_labels_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(StepFailed, match="probabilities"):
        decode({"probability": wrong}, CARD)


def test_a_probability_inside_the_band_says_why_it_abstains() -> None:
    """CC26: both the probability and the reason."""
    low, high = CARD.abstention_band
    middle = (low + high) / 2
    unsure, sure = decode(rows(middle, 0.999), CARD)
    assert (unsure.abstained, f"{middle:.3f}" in unsure.reason, f"{high:g}" in unsure.reason) == (True, True, True)
    assert (sure.abstained, sure.reason) == (False, "")
