"""How well the answers to a question of several classes agree with the labels, class by class; prints nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from triton_models import figures
from triton_models.figures import Figure


@dataclass(frozen=True, slots=True)
class OneClass:
    """One class against all others: `n` rows have it, and AUROC is of its own probability."""

    n: int
    auroc: Figure | None
    sensitivity: Figure
    specificity: Figure


@dataclass(frozen=True, slots=True)
class ClassFigures:
    """`confusion` counts rows by true class (rows) and answered class (columns), in the order of the labels."""

    labels: Sequence[str]
    balanced_accuracy: Figure
    per_class: Mapping[str, OneClass]
    confusion: Sequence[Sequence[int]]

    def json(self) -> dict[str, Any]:
        """For machines; figures rounded to four digits."""
        return {
            "balanced_accuracy": figures.rounded(self.balanced_accuracy),
            "per_class": {
                label: {
                    "n": found.n,
                    "auroc": figures.rounded(found.auroc) if found.auroc else None,
                    "sensitivity": figures.rounded(found.sensitivity) if found.n else None,
                    "specificity": figures.rounded(found.specificity),
                }
                for label, found in self.per_class.items()
            },
            "confusion": [list(row) for row in self.confusion],
            "labels": list(self.labels),
        }


def class_figures(
    labels: Sequence[str],
    truth: Sequence[int],
    predicted: Sequence[int],
    probabilities: npt.NDArray[np.float64],
    groups: Sequence[str] | None,
) -> ClassFigures:
    """The figures of answers by class number; intervals count groups where they are given."""
    real, said = np.asarray(truth), np.asarray(predicted)
    per_class = {}
    for number, label in enumerate(labels):
        has, named = real == number, said == number
        people = None if groups is None else np.asarray(groups)
        per_class[label] = OneClass(
            n=int(has.sum()),
            auroc=figures.auroc(has, probabilities[:, number], groups) if 0 < has.sum() < len(real) else None,
            sensitivity=figures.proportion(named[has], None if people is None else people[has]),
            specificity=figures.proportion(~named[~has], None if people is None else people[~has]),
        )
    return ClassFigures(
        labels=labels,
        balanced_accuracy=figures.balanced_accuracy(real, said, len(labels), groups),
        per_class=per_class,
        confusion=figures.confusion(real, said, len(labels)),
    )
