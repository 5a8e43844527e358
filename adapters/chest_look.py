"""How much a small grey picture looks like an upright, whole, frontal chest: one weighted sum a way of going wrong.

The weights are fitted by `clinstream quality --fit` on pictures whose licence lets them ship; nothing is judged here.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

WEIGHTS: Final = Path(__file__).with_name("chest_look.json")
GRID: Final = 12
"""The picture is seen as 12 x 12 fields: what remains are lungs, heart, neck and belly, not ribs."""
FLAT: Final = 12
"""Grey levels within which an outer row or column is bar, not picture."""
KEEP: Final = 0.3
WAYS: Final = ("whole", "turned_left", "upside_down", "turned_right", "top", "bottom", "left", "right", "other")
"""What a picture may look like: a chest as it should be; turned counter-clockwise by a quarter, a half or three
quarters; one half of a chest only, as the picture's half; and something else."""


def inside(picture: Grey) -> Grey:
    """`picture` without flat bars around it; all of it where less than a third of a side would stay."""
    top, bottom = _busy(picture.max(axis=1) - picture.min(axis=1))
    picture = picture[top:bottom]
    left, right = _busy(picture.max(axis=0) - picture.min(axis=0))
    return picture[:, left:right]


def features(picture: Grey) -> Floats:
    """2 x 144 numbers in [-1, 1] of a picture of at least 12 x 12: the rank of each field by brightness and by detail.

    Ranks do not change with window, exposure or inversion of contrast curves, as long as brighter stays brighter.
    """
    rows, columns = picture.shape
    down = np.linspace(0, rows, GRID + 1).astype(np.intp)
    across = np.linspace(0, columns, GRID + 1).astype(np.intp)
    size = np.outer(np.diff(down), np.diff(across))
    signed = picture.astype(np.int16)
    detail = np.zeros(picture.shape, dtype=np.int32)
    np.abs(np.diff(signed, axis=1), out=detail[:, :-1])
    detail[:-1] += np.abs(np.diff(signed, axis=0))
    return np.concatenate(
        [_ranks(_sums(signed.astype(np.int32), down, across) / size), _ranks(_sums(detail, down, across) / size)]
    )


def likeness(picture: Grey) -> dict[str, float]:
    """Probabilities of `WAYS`, summing to 1, of a picture without bars; smaller than 12 x 12 it is `other`."""
    if min(picture.shape) < GRID:
        return {way: float(way == "other") for way in WAYS}
    weights, bias = fitted()
    return dict(zip(WAYS, probabilities(features(picture)[None], weights, bias)[0].tolist(), strict=True))


def probabilities(rows: Floats, weights: Floats, bias: Floats) -> Floats:
    """Softmax of weighted sums: (n, 288) features to (n, ways)."""
    sums = rows @ weights + bias
    shown: Floats = np.exp(sums - sums.max(axis=1, keepdims=True))
    shown /= shown.sum(axis=1, keepdims=True)
    return shown


@lru_cache(maxsize=1)
def fitted() -> tuple[Floats, Floats]:
    """The shipped weights (288, ways) and bias (ways)."""
    stored: dict[str, Any] = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    return np.array(stored["weights"], dtype=np.float32) / stored["scale"], np.array(stored["bias"], dtype=np.float32)


def _busy(spread: Grey) -> tuple[int, int]:
    found = np.flatnonzero(spread > FLAT)
    if not len(found) or found[-1] + 1 - found[0] < KEEP * len(spread):
        return 0, len(spread)
    return int(found[0]), int(found[-1]) + 1


def _sums(values: npt.NDArray[np.int32], down: npt.NDArray[np.intp], across: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
    summed: npt.NDArray[Any] = np.add.reduceat(np.add.reduceat(values, down[:-1], axis=0), across[:-1], axis=1)
    return summed


def _ranks(fields: npt.NDArray[Any]) -> Floats:
    ranks = np.empty(fields.size, dtype=np.float32)
    ranks[np.argsort(fields, axis=None, kind="stable")] = np.linspace(-1.0, 1.0, fields.size, dtype=np.float32)
    return ranks
