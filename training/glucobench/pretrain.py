"""Pretrains ours on open sets and writes the committed weights: `python -m training.glucobench.pretrain DATA [OUT]`.

One file has seen every set and one for each set all others, so that no file is judged by weights that have seen it.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from training.glucobench import features, networks, ours, protocol
from training.glucobench.protocol import Piece, Protocol
from training.glucobench.sketch import sketch
from triton_models import series

Rows = npt.NDArray[np.float32]
SEED = 120
# Segments of 100 steps or more, windows a quarter of an hour apart, at most so many of a set; small sets count thrice.
GENEROUS = Protocol(gap_min=45, min_segment=100, test_segment=12, max_input=features.LONGEST)
APART, MOST, SMALL, REPEATED = 3, 120_000, 40_000, 3
# How much is seen beforehand differs from window to window, as the longest input does from file to file.
INPUTS = (96, 144, 192, 288)
HIDDEN_SHARE = 0.25
PASSES, RATE, BATCH = 3.0, 2e-3, 512


@dataclass(frozen=True, slots=True)
class Pool:
    """What is learnt from one set."""

    seen: Rows
    change: Rows


def pool(path: Path) -> tuple[Pool, npt.NDArray[np.uint64]]:
    """Features and changes of some windows of a file, long records drawn less often, and the file's sketch."""
    read, rng = series.read(path), np.random.default_rng(SEED)
    listed = [
        (number, Piece(segment, 0, 0, len(segment)))
        for number, one in enumerate(read.series)
        for segment in protocol.segments(one, GENEROUS)
    ]
    windows = protocol.cut(listed, GENEROUS, APART)
    share = np.bincount(windows.subject)[windows.subject] ** -0.5
    picked = rng.choice(len(windows), min(MOST, len(windows)), replace=False, p=share / share.sum())
    windows = windows.pick(picked)
    known = features.wearers(windows)
    shown = rng.choice(INPUTS, len(windows))
    windows.rows[np.arange(features.LONGEST) < (features.LONGEST - shown)[:, None]] = np.nan
    seen = features.features(windows, known)
    seen[rng.random(len(windows)) < HIDDEN_SHARE, -features.OWN :] = 0.0
    return Pool(seen, windows.truth - windows.rows[:, -1:]), sketch(read.series)


def pretrained(pools: Sequence[Pool]) -> ours.Residual:
    """The network after some passes over the sets together."""
    several = [each for one in pools for each in [one] * (REPEATED if len(one.seen) < SMALL else 1)]
    seen, change = (np.concatenate([getattr(each, what) for each in several]) for what in ("seen", "change"))
    torch.manual_seed(SEED)
    network = ours.Residual(seen.shape[1])
    return networks.trained(network, seen, change, ours.root, passes=PASSES, rate=RATE, seed=SEED, batch=BATCH)


def main() -> None:
    """Writes `sketches.npz`, `from_all.npz` and a `from_all_but_<set>.npz` for each set."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("data", type=Path)
    asked.add_argument("out", type=Path, nargs="?", default=ours.WEIGHTS)
    asked.add_argument("--only", nargs="*", help="names of sets to leave out in turn, `all` for none")
    given = asked.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    found = {path.stem: pool(path) for path in sorted(given.data.glob("*.parquet"))}
    sketches: dict[str, Any] = {name: hashes for name, (_, hashes) in found.items()}
    np.savez_compressed(given.out / "sketches.npz", **sketches)
    for left_out in given.only or ["all", *found]:
        names = [name for name in found if name != left_out]
        name = "from_all" if left_out == "all" else f"from_all_but_{left_out}"
        ours.save(given.out / f"{name}.npz", pretrained([found[each][0] for each in names]), names)
        print(name, flush=True)


if __name__ == "__main__":
    main()
