"""What can be said of research measurements without truth: how often there is none, spread, agreement with itself."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from adapters.cardiothoracic import cardiothoracic_ratio
from adapters.cortex import cortical_ratio
from adapters.measuring import NotMeasured
from clinstream.gate import pictures
from clinstream.gate.pictures import Grey, Picture

Values = npt.NDArray[np.float64]
MOST = 100
"""Pictures of one source, evenly out of those that are held back."""


@dataclass(frozen=True, slots=True)
class Apart:
    """How far values are from those of a changed picture: median and 95 %, and how often that one has none."""

    median: float
    most: float
    none: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """One measure on the pictures of one source; `spread` is 2.5 %, median and 97.5 % of its values."""

    measure: str
    source: str
    n: int
    reasons: dict[str, int]
    spread: tuple[float, float, float]
    mirrored: Apart
    half: Apart


def agreements(data: Path) -> list[Agreement]:
    """Both measures on the pictures held back; photographs of ears, where nothing is to be found, beside them."""
    chests, limbs, ears = pictures.chests(data), pictures.limbs(data), pictures.photographs(data)
    sources = sorted({each.source for each in chests})
    found = [_agreement("cardiothoracic_ratio", cardiothoracic_ratio, chests, source) for source in sources]
    found.append(_agreement("cardiothoracic_ratio", cardiothoracic_ratio, ears, "viscaino"))
    found.append(_agreement("cortical_ratio", cortical_ratio, limbs, "fracatlas"))
    return [*found, _agreement("cortical_ratio", cortical_ratio, ears, "viscaino")]


def _agreement(name: str, measure: Callable[[Grey], float], given: list[Picture], source: str) -> Agreement:
    held = [each for each in given if each.source == source and each.part == "test"]
    held = held or [each for each in given if each.source == source]
    chosen = [held[place] for place in np.linspace(0, len(held) - 1, min(MOST, len(held))).astype(int)]
    reasons: Counter[str] = Counter()
    rows: list[tuple[float, float, float]] = []
    for greys in (each.greys() for each in chosen):
        try:
            value = measure(greys)
        except NotMeasured as why:
            reasons[str(why)] += 1
            continue
        smaller = np.asarray(Image.fromarray(greys).reduce(2))
        rows.append((value, _or_nan(measure, np.ascontiguousarray(greys[:, ::-1])), _or_nan(measure, smaller)))
    values = np.array(rows or [(np.nan,) * 3])
    low, middle, high = (float(each) for each in np.percentile(values[:, 0], (2.5, 50, 97.5)))
    mirrored, half = (_apart(values[:, 0], values[:, changed], len(rows)) for changed in (1, 2))
    return Agreement(name, source, len(chosen), dict(reasons), (low, middle, high), mirrored, half)


def _apart(values: Values, changed: Values, n: int) -> Apart:
    both = np.abs(changed - values)[~np.isnan(changed)]
    median, most = (float(each) for each in np.percentile(both, (50, 95))) if len(both) else (np.nan, np.nan)
    return Apart(median, most, n - len(both))


def _or_nan(measure: Callable[[Grey], float], greys: Grey) -> float:
    try:
        return measure(greys)
    except NotMeasured:
        return float("nan")
