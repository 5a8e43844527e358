"""Risks of stays that were each held back once, fold by fold, and their figures; numpy only, nothing is fitted here."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from triton_models import figures
from triton_models.figures import Figure
from triton_models.icu_mortality.judge import calibration_error

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

RESAMPLES, SEED = 1000, 62
HEADER = (
    "| what | AUROC | lowest and highest fold | sensitivity | specificity | accuracy | calibration error |\n"
    "|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True, slots=True)
class HeldBack:
    """By stay: outcome, fold that held it back (-1: none yet), risk, whether that reached the fold's threshold."""

    died: Labels
    fold: Places
    risks: Floats
    called: Labels

    def enter(self, fold: int, places: Places, risks: Floats, threshold: float) -> None:
        """The risks of the stays of a fold, by what was fitted to the other folds."""
        self.fold[places], self.risks[places], self.called[places] = fold, risks, risks >= threshold

    def auroc(self) -> Figure:
        """Share of rightly ordered pairs of a death and a survival of the same fold.

        Risks of two folds come from two fits and are not compared. Folds share no stay, so their DeLong variances add;
        that fits to other stays would differ is in the interval only as far as the five folds do.
        """
        folds = self._folds()
        errors = [figures.delong_error(self.died[places], self.risks[places]) for places in folds]
        value, half = self._mean(folds), figures.Z95 * float(np.linalg.norm(self._weights(folds) * errors))
        return value, value - half, value + half

    def gain(self, other: "HeldBack") -> Figure:
        """AUROC less that of `other` on the same folds; the interval is a bootstrap within fold and outcome."""
        rng = np.random.default_rng(SEED)
        groups = [[places[self.died[places] == outcome] for outcome in (False, True)] for places in self._folds()]
        drawn = []
        for _ in range(RESAMPLES):
            picked = [np.concatenate([rng.choice(group, len(group)) for group in pair]) for pair in groups]
            drawn.append(self._mean(picked) - other._mean(picked))
        low, high = np.quantile(drawn, [0.025, 0.975])
        return self._mean(self._folds()) - other._mean(self._folds()), float(low), float(high)

    def line(self, what: str) -> str:
        """A row of a Markdown table under `HEADER`."""
        each = [figures.rank_auroc(self.died[places], self.risks[places]) for places in self._folds()]
        shares = (self.called[self.died], ~self.called[~self.died], self.called == self.died)
        cells = [shown(self.auroc(), digits=4), f"{min(each):.3f}, {max(each):.3f}"]
        cells += [shown(figures.proportion(share)) for share in shares]
        return f"| {what} | {' | '.join(cells)} | {calibration_error(self.risks, self.died):.3f} |"

    def _folds(self) -> list[Places]:
        return [np.flatnonzero(self.fold == number) for number in range(int(self.fold.max()) + 1)]

    def _mean(self, folds: list[Places]) -> float:
        values = [figures.rank_auroc(self.died[places], self.risks[places]) for places in folds]
        return float(self._weights(folds) @ values)

    def _weights(self, folds: list[Places]) -> Floats:
        """The share of each of `folds` in all pairs."""
        pairs = np.array([float(self.died[places].sum() * (~self.died[places]).sum()) for places in folds])
        shares: Floats = pairs / pairs.sum()
        return shares


def empty(died: Labels) -> HeldBack:
    """Before the first fold."""
    count = len(died)
    return HeldBack(died, np.full(count, -1), np.zeros(count), np.zeros(count, dtype=np.bool_))


def shown(figure: Figure, digits: int = 3) -> str:
    """A figure as a table shows it."""
    value, low, high = (f"{each:.{digits}f}" for each in figure)
    return f"{value} ({low} to {high})"
