"""What clinicians corrected, as rows for the next training; which part they join is decided in `table`."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from triton_models.icu_mortality.card import CARD
from triton_models.icu_mortality.preprocess import FEATURES
from triton_models.icu_mortality.table import TARGET

FILE = "corrections.csv"


def write(folder: Path, rows: Sequence[tuple[Mapping[str, float | None], str]]) -> int:
    """Writes `corrections.csv`: features as they were observed, and the outcome by the clinician's label.

    Nothing is written for no rows; returns how many were.
    """
    if not rows:
        return 0
    with (folder / FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*FEATURES, TARGET])
        for features, label in rows:
            values = ["" if features.get(name) is None else repr(float(features[name] or 0.0)) for name in FEATURES]
            writer.writerow([*values, int(label == CARD.positive_label)])
    return len(rows)
