"""`bench glucobench`: forecasters on a file of readings by GlucoBench's protocol, as a report; how is in `training`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clinstream.benches import figures
from clinstream.benches.figures import Figure, Report
from schemas.errors import UserError

if TYPE_CHECKING:
    from training.glucobench.compare import Comparison, Say
    from training.glucobench.judged import Errors

LINEAR = ("linear_12", "linear_84")
WHERE = {"in": "", "out": "out_of_distribution_"}


def run(path: Path, sizes: tuple[float, int, int, int], seeds: int, say: "Say") -> Report:
    """The report; `sizes` are gap in minutes, shortest segment, test and longest input in steps of 5 minutes.

    Raises UserError where training's libraries are not installed, and for a file that cannot be judged.
    """
    try:
        from training.glucobench.compare import compare
        from training.glucobench.protocol import Protocol
    except ImportError as lacking:
        raise UserError(
            f"This bench trains its forecasters and needs {lacking.name}, which serving does not: install "
            "requirements/train.lock."
        ) from None
    return report(compare(path, Protocol(*sizes), seeds, say))


def report(found: "Comparison") -> Report:
    """Ratios of the better linear model to ours, each measure apart; figures are medians over the seeds."""
    from training.glucobench.judged import MEASURES

    ratios, intervals = {}, {}
    shown: dict[str, Figure] = {}
    for part, prefix in WHERE.items():
        seeds = [each for each in found.seeds if part in each.errors]
        if not seeds:
            continue
        for measure, of in MEASURES.items():
            best = [min((each.errors[part][name] for name in LINEAR), key=of) for each in seeds]
            ours = [each.errors[part]["ours"] for each in seeds]
            ratio = f"{prefix}linear_over_ours_{measure}"
            ratios[ratio] = figures.ratio([of(each) for each in best], [of(each) for each in ours])
            intervals[ratio] = _interval(ours, best, measure, [each.people[part] for each in seeds])
        for name in found.seeds[0].errors[part]:
            for measure, of in MEASURES.items():
                values = [of(each.errors[part][name]) for each in seeds]
                shown[f"{prefix}{name}_{measure}"] = figures.figure(values, "mg/dL")
        windows = [float(len(each.people[part])) for each in seeds]
        shown[f"{prefix}test_windows"] = figures.figure(windows, "windows")
    shown["subjects"] = Figure(float(found.subjects), "subjects", 0.0)
    notes: dict[str, Any] = {
        "intervals": intervals,
        "pretrained_on": list(found.pretrained_on),
        "recognised": list(found.recognised),
        "subjects_too_short": found.too_short,
    }
    return Report("glucobench", ratios, shown, notes=notes)


def _interval(
    ours: "Sequence[Errors]", other: "Sequence[Errors]", measure: str, people: Sequence[Any]
) -> list[float | None]:
    """Of all seeds' windows together, by resampling people; of one person there is none, as `evaluate` says it."""
    from training.glucobench.judged import Errors, ratio_interval

    def joined(several: "Sequence[Errors]") -> Errors:
        return Errors(np.concatenate([e.squared for e in several]), np.concatenate([e.absolute for e in several]))

    low, high = ratio_interval(joined(ours), joined(other), measure, np.concatenate(people))
    return [None if np.isnan(bound) else round(bound, 4) for bound in (low, high)]
