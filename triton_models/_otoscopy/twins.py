"""Which photographs show the same thing, by their bytes and thumbnails, and the check that stops a contaminated run."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.errors import UserError

Floats = npt.NDArray[np.float32]
SIDE = 32
CORRELATION = 0.8
"""Of thumbnails without the mean picture. No pair of different classes of the collection lies above it."""


def thumbnails(photographs: Iterable[npt.NDArray[np.uint8]]) -> Floats:
    """float32 [n, SIDE * SIDE * 3]: the middle of each photograph, unit length, mean picture removed."""
    small = [
        np.asarray(Image.fromarray(photograph).resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.float32)
        for photograph in photographs
    ]
    away = np.arange(SIDE) - (SIDE - 1) / 2
    middle = away[:, None] ** 2 + away[None, :] ** 2 < (0.44 * SIDE) ** 2
    flat = np.stack([picture[middle].ravel() for picture in small])
    flat = flat - flat.mean(axis=0)
    flat -= flat.mean(axis=1, keepdims=True)
    unit: Floats = flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    return unit


def groups(clusters: Sequence[str], digests: Sequence[str], thumbs: Floats) -> list[str]:
    """A group name for each photograph: those of one cluster ("" is none), of equal bytes or near-equal thumbnails."""
    parent = list(range(len(digests)))

    def root(place: int) -> int:
        while parent[place] != place:
            place = parent[place]
        return place

    def join(one: int, other: int) -> None:
        low, high = sorted((root(one), root(other)))
        parent[high] = low

    for keys in (clusters, digests):
        first: dict[str, int] = {}
        for place, key in enumerate(keys):
            if key:
                join(first.setdefault(key, place), place)
    for one, other in zip(*np.nonzero(np.triu(thumbs @ thumbs.T > CORRELATION, 1)), strict=True):
        join(int(one), int(other))
    return [digests[root(place)][:16] for place in range(len(digests))]


def refuse_contamination(
    parts: Mapping[str, Sequence[str]], digests: Mapping[str, Sequence[str]], thumbs: Mapping[str, Floats]
) -> None:
    """Stops (UserError) where two parts share a group, equal bytes or near-equal thumbnails; each by part name."""
    names = list(parts)
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            shared = {
                "groups": len(set(parts[one]) & set(parts[other])),
                "equal files": len(set(digests[one]) & set(digests[other])),
                "near-equal photographs": int((thumbs[one] @ thumbs[other].T > CORRELATION).sum()),
            }
            bad = ", ".join(f"{count} {what}" for what, count in shared.items() if count)
            if bad:
                raise UserError(f"the parts {one} and {other} are contaminated: they share {bad}; nothing was trained")
