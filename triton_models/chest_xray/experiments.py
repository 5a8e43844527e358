"""Other families of networks, trained from scratch on `chest_xray`'s own parts at one small budget; imports torch.

`python -m triton_models.chest_xray.experiments DATA OUT` trains each for the same number of images with the same
changes, batches and loss, and prints the table of MODEL.md. A killed run goes on from its last epoch; what is finished
is read from OUT.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from triton_models._vision import served as files
from triton_models._vision.cost import asked
from triton_models._vision.families import Family, families
from triton_models._vision.served import Served
from triton_models._vision.state import DEVICE, Pace, Progress, State, mark_of
from triton_models.chest_xray.collection import divide, load, read_index
from triton_models.chest_xray.comparison import RECALLS, Pixels, judge
from triton_models.chest_xray.learning import CACHE_SIDE, LungNet, Recipe, batches
from triton_models.trained import machine

SEED = 20261120
SIDE, PATCHES = 80, 8
EPOCHS = 1
OURS = "this model's network"
FOREIGN = "kiran_jabeen"


def learn(
    network: nn.Module,
    images: Pixels,
    truth: npt.NDArray[np.bool_],
    recipe: Recipe,
    last: Path,
    mark: str,
    say: Progress,
) -> tuple[nn.Module, float]:
    """The averaged weights after the last epoch, and the processor seconds that learning took."""
    steps = recipe.epochs * (len(images) // recipe.batch)
    pace = Pace(recipe.peak_rate, recipe.weight_decay, recipe.average, steps, rise=0.15, divisor=20.0)
    state = State.begin(network, pace, SEED)
    if state.load(last, mark):
        say(f"going on after epoch {len(state.history)}")
    while (epoch := len(state.history)) < recipe.epochs:
        began, total = time.process_time(), 0.0
        state.network.train()
        for step, (chosen, made) in enumerate(batches(images, truth, recipe, SEED, epoch)):
            pixels = torch.from_numpy(made).to(DEVICE).float().to(memory_format=torch.channels_last)
            ill = torch.from_numpy(truth[chosen]).to(DEVICE).float() * (1 - recipe.smoothing) + recipe.smoothing / 2
            loss = nn.functional.binary_cross_entropy_with_logits(state.network(pixels)[:, 0], ill)
            total += state.descend(loss, step)
        row = {"loss": total / (step + 1), "processor seconds": time.process_time() - began}
        state.history.append(row)
        state.save(last, mark)
        say(f"epoch {epoch + 1} of {recipe.epochs}: " + ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
    averaged: nn.Module = state.averaged.module
    return averaged, sum(row["processor seconds"] for row in state.history)


def compare(
    data: Path, out: Path, recipe: Recipe, few: int | None, say: Progress, only: Sequence[str] = ()
) -> dict[str, Any]:
    """Trains and measures every family that OUT holds no result of, or `only` those named; results by family."""
    division = divide(data, SEED, few)
    foreign = [one for one in read_index(data) if one.source == FOREIGN and one.label == "normal"]
    images = load(division.train, CACHE_SIDE)
    truth = np.array([picture.pneumonia for picture in division.train])
    out.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, family in {
        OURS: Family(lambda: LungNet(recipe.width)),
        **families(recipe.side, recipe.side // PATCHES),
    }.items():
        if only and name not in only:
            continue
        own = replace(recipe, peak_rate=family.peak_rate)
        mark, stem = mark_of(name, asdict(own), SEED, division.data_hash), name.split(",")[0].replace(" ", "-")
        done = out / f"{stem}.json"
        kept = json.loads(done.read_text(encoding="utf-8")) if done.is_file() else {}
        if kept.get("mark") != mark:
            say(name)
            torch.manual_seed(SEED)
            network, seconds = learn(family.build(), images, truth, own, out / f"{stem}.pt", mark, say)
            path = out / f"{stem}.onnx"
            files.export(Served(network.cpu(), 1.0, 0.0), (1, recipe.side, recipe.side), {"probability": (2,)}, path)
            kept = {"mark": mark, "processor seconds": round(seconds, 1), "peak rate": own.peak_rate}
            kept |= _size(network, path) | judge(path, division, foreign[:few], recipe.side)
            done.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
        found[name] = kept
    return {"recipe": asdict(recipe), "images seen": recipe.epochs * (len(images) // recipe.batch) * recipe.batch} | {
        "machine": machine(),
        "sizes": division.sizes(),
        "families": found,
    }


def _size(network: nn.Module, path: Path) -> dict[str, float]:
    milliseconds, megabytes = asked(path)
    return {
        "million parameters": round(sum(each.numel() for each in network.parameters()) / 1e6, 2),
        "file MB": round(path.stat().st_size / 1e6, 1),
        "ms an image": round(milliseconds, 1),
        "memory MB": round(megabytes),
    }


def table(found: Mapping[str, Any]) -> str:
    """The table of MODEL.md."""
    lines = [
        "| network | million parameters | MB as served | ms | MB of memory | processor s | AUROC | worst shift "
        "| specificity (sensitivity) at 0.98 | at 0.99 | other normals at 0.98 |",
        "|---" * 11 + "|",
    ]
    for name, one in found.items():
        at = [
            "{:.3f} ({:.3f}–{:.3f}) ({:.3f})".format(*each["specificity"], each["sensitivity"][0])
            for each in (one[f"recall {recall}"] for recall in RECALLS)
        ]
        lines.append(
            f"| {name} | {one['million parameters']:.1f} | {one['file MB']} | {one['ms an image']} "
            f"| {one['memory MB']} | {one['processor seconds']:.0f} | {{:.3f}} ({{:.3f}}–{{:.3f}}) "
            f"| {one['auroc of the worst shift']:.3f} | {at[0]} | {at[1]} "
            f"| {one['recall 0.98']['foreign normals'][0]:.3f} |".format(*one["auroc"])
        )
    return "\n".join(lines)


def main() -> None:
    """Runs what was asked for."""
    asks = argparse.ArgumentParser(description=__doc__)
    asks.add_argument("data", type=Path)
    asks.add_argument("out", type=Path)
    asks.add_argument("--json", action="store_true", help="for machines")
    asks.add_argument("--epochs", type=int, default=EPOCHS)
    asks.add_argument("--side", type=int, default=SIDE, help="pixels, a multiple of eight, 80 at least")
    asks.add_argument("--few", type=int, help="people of each class, to rehearse")
    asks.add_argument("--only", nargs="*", default=(), metavar="FAMILY", help="by the table's names")
    given = asks.parse_args()
    torch.set_num_threads(1)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    recipe = Recipe(side=given.side, epochs=given.epochs, average=0.98, mixup=0.0, people=given.few)
    found = compare(given.data, given.out, recipe, given.few, say, given.only)
    print(json.dumps(found, indent=1) if given.json else table(found["families"]))


if __name__ == "__main__":
    main()
