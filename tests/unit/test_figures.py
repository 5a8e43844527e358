"""Figures and their intervals, against values worked out by hand and against scikit-learn (ME3, ME8)."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from triton_models import figures


def test_auroc_counts_pairs_in_the_right_order_and_ties_half() -> None:
    # pairs (positive, negative): (.9,.1) (.9,.5) (.5,.1) right, (.5,.5) tied: 3.5 of 4
    value, low, high = figures.auroc([1, 1, 0, 0], [0.9, 0.5, 0.1, 0.5])
    assert value == 0.875
    assert 0.0 <= low <= value <= high <= 1.0


def test_auroc_equals_scikit_learn_on_scores_with_many_ties() -> None:
    rng = np.random.default_rng(1)
    truth = rng.random(500) < 0.3
    scores = np.round(truth * 0.7 + rng.normal(size=500), 1)
    assert figures.auroc(truth, scores)[0] == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)


def test_the_interval_of_auroc_covers_the_truth_in_about_95_of_100_samples() -> None:
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(300):
        truth = np.arange(120) < 40
        scores = truth * 1.0 + rng.normal(size=120)
        _, low, high = figures.auroc(truth, scores)
        covered += low <= 0.76025 <= high  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
    assert 270 <= covered <= 297


def test_groups_of_equal_copies_widen_the_interval_to_that_of_one_copy() -> None:
    rng = np.random.default_rng(3)
    truth = rng.random(150) < 0.5
    scores = truth * 0.8 + rng.normal(size=150)
    once = figures.auroc(truth, scores, list(range(150)))
    copied = figures.auroc(np.repeat(truth, 6), np.repeat(scores, 6), np.repeat(np.arange(150), 6).tolist())
    naive = figures.auroc(np.repeat(truth, 6), np.repeat(scores, 6))
    assert copied == pytest.approx(once, abs=1e-9)
    assert copied[2] - copied[1] > 2 * (naive[2] - naive[1])


@pytest.mark.parametrize(
    ("labels", "scores", "why"),
    [([1, 1], [0.1, 0.2], "both classes"), ([0, 1], [0.1, np.nan], "finite"), ([0, 1, 1], [0.1, 0.2], "one row each")],
)
def test_auroc_refuses_what_has_no_answer(labels: list[int], scores: list[float], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        figures.auroc(labels, scores)


def test_the_proportion_of_8_of_10_has_the_published_wilson_interval() -> None:
    value, low, high = figures.proportion([1] * 8 + [0] * 2)
    assert value == 0.8
    assert [low, high] == pytest.approx([0.4902, 0.9433], abs=1e-4)


def test_a_perfect_proportion_is_not_certain() -> None:
    assert list(figures.proportion([1] * 100)) == pytest.approx([1.0, 0.9630, 1.0], abs=1e-4)


def test_a_proportion_of_nothing_is_unknown() -> None:
    value, low, high = figures.proportion([])
    assert np.isnan(value)
    assert (low, high) == (0.0, 1.0)


def test_people_with_several_images_widen_the_interval_of_a_proportion() -> None:
    hits = np.repeat([1, 1, 1, 0, 1, 1, 0, 1, 1, 1], 5)
    _, low, high = figures.proportion(hits, np.repeat(np.arange(10), 5))
    _, naive_low, naive_high = figures.proportion(hits)
    assert high - low > 1.8 * (naive_high - naive_low)


def test_a_score_at_the_threshold_counts_as_positive() -> None:
    labels, scores = [1, 1, 0, 0], [0.5, 0.4, 0.5, 0.4]
    assert figures.sensitivity(labels, scores, 0.5)[0] == 0.5
    assert figures.specificity(labels, scores, 0.5)[0] == 0.5


def test_the_threshold_for_a_recall_is_the_largest_that_reaches_it() -> None:
    labels, scores = [1] * 100 + [0], [*np.arange(100) / 100, 0.0]
    threshold = figures.threshold_for(labels, scores, 0.98)
    assert threshold == 0.02
    assert figures.sensitivity(labels, scores, threshold)[0] == 0.98
    assert figures.sensitivity(labels, scores, threshold + 0.01)[0] < 0.98


def test_confusion_has_the_truth_in_rows() -> None:
    assert figures.confusion([0, 0, 1, 1, 1], [0, 1, 1, 1, 0], 2) == [[1, 1], [1, 2]]


def test_balanced_accuracy_equals_scikit_learn_for_three_classes() -> None:
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 200)
    said = np.where(rng.random(200) < 0.7, truth, rng.integers(0, 3, 200))
    value, low, high = figures.balanced_accuracy(truth, said, 3)
    assert value == pytest.approx(balanced_accuracy_score(truth, said))
    assert low < value < high
