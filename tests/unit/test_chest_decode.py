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
