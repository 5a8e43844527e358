"""Fits the weighted sums of `adapters.chest_look`: softmax regression on real chests, what is done to them, and others.

Only `train` parts of sources that may ship are used; equal data and seed give an equal file.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from adapters import chest_look
from adapters.chest_look import Floats, features, inside
from adapters.quality import sample
from clinstream.gate import damage, pictures
from clinstream.gate.damage import Chance, Grey

EPOCHS, ROWS, RATE, DECAY, NOISE, SMOOTH = 12, 256, 4e-3, 0.05, 0.1, 0.02
SCALE = 1000
OTHER = chest_look.WAYS.index("other")


def fit(data: Path, target: Path, told: Callable[[str], None]) -> None:
    """Writes the weights fitted on the pictures of `data` to `target`; raises UserError where an index is missing."""
    chance = np.random.default_rng(pictures.SEED)
    chests = [one for one in pictures.chests(data) if one.part == "train" and one.source in pictures.SHIPPABLE]
    others = [one for one in (*pictures.limbs(data), *pictures.photographs(data)) if one.part == "train"]
    rows, ways = [], []
    for one in chests:
        for seen, way in _views(sample(one.greys()), chance):
            rows.append(features(inside(seen)))
            ways.append(way)
    for one in others:
        for seen in _any_way_up(sample(one.greys()), chance):
            rows.append(features(inside(seen)))
            ways.append(OTHER)
    told(f"{len(rows)} views of {len(chests)} chests and {len(others)} other pictures")
    weights, bias = _regress(np.stack(rows), np.array(ways), chance)
    written = {
        "ways": list(chest_look.WAYS),
        "scale": SCALE,
        "bias": [round(float(value), 4) for value in bias],
        "weights": np.rint(weights * SCALE).astype(int).tolist(),
    }
    target.write_text(json.dumps(written, separators=(",", ":")) + "\n", encoding="utf-8")


def _views(picture: Grey, chance: Chance) -> Iterator[tuple[Grey, int]]:
    """A chest as it may come, and half of the time each way of going wrong."""
    yield picture, 0
    yield damage.framed(picture, chance)[:, :: int(chance.choice([-1, 1]))], 0
    yield damage.tilted(damage.framed(picture, chance), chance), 0
    yield damage.widened(picture, chance), 0
    yield damage.tilted(damage.widened(picture, chance), chance, 8.0), 0
    for quarter in (1, 2, 3):
        if chance.random() < 0.5:
            wide = chance.random() < 0.4
            yield (
                np.rot90(damage.widened(picture, chance) if wide else damage.framed(picture, chance), quarter),
                quarter,
            )
    for half in range(4):
        if chance.random() < 0.5:
            yield damage.halved(picture, half, chance.uniform(0.35, 0.52)), 4 + half


def _any_way_up(picture: Grey, chance: Chance) -> Iterator[Grey]:
    for quarter in range(4):
        turned = np.rot90(picture, quarter)
        yield turned
        yield damage.framed(turned, chance, 0.25)[:, ::-1]


def _regress(rows: Floats, ways: Sequence[int] | np.ndarray, chance: Chance) -> tuple[Floats, Floats]:
    """Weights and bias by AdamW with one cosine cycle; each way weighs the same, `whole` twice."""
    truth = np.asarray(ways)
    names = len(chest_look.WAYS)
    weight = 1.0 / np.bincount(truth, minlength=names)
    weight[0] *= 2.0
    weight /= weight[truth].mean()
    wanted = np.eye(names, dtype=np.float32) * (1 - SMOOTH) + SMOOTH / names
    factors = np.zeros((rows.shape[1] + 1, names), dtype=np.float32)
    mean, square = np.zeros_like(factors), np.zeros_like(factors)
    steps = EPOCHS * (len(rows) // ROWS)
    order = np.empty(0, dtype=np.intp)
    for step in range(1, steps + 1):
        if len(order) < ROWS:
            order = chance.permutation(len(rows))
        chosen, order = order[:ROWS], order[ROWS:]
        seen = rows[chosen] + NOISE * chance.standard_normal((ROWS, rows.shape[1]), dtype=np.float32)
        gap = chest_look.probabilities(seen, factors[:-1], factors[-1]) - wanted[truth[chosen]]
        gap *= (weight[truth[chosen]] / ROWS).astype(np.float32)[:, None]
        slope = np.concatenate([seen.T @ gap, gap.sum(axis=0, keepdims=True)])
        mean, square = 0.9 * mean + 0.1 * slope, 0.999 * square + 0.001 * slope * slope
        rate = RATE * 0.5 * (1 + np.cos(np.pi * step / steps)) * min(1.0, step / 200)
        factors[:-1] *= 1 - rate * DECAY
        factors -= rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return factors[:-1], factors[-1]
