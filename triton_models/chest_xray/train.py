"""Trains `chest_xray` from scratch on one CPU or GPU, exports it to ONNX and measures that; `learning` is torch too."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from triton_models._vision import served as files
from triton_models._vision.served import Served
from triton_models._vision.state import Progress
from triton_models.calibration import raw_logits
from triton_models.chest_xray import report
from triton_models.chest_xray.activation import add_map
from triton_models.chest_xray.card import CARD
from triton_models.chest_xray.collection import divide
from triton_models.chest_xray.learning import Recipe, begin, learn
from triton_models.chest_xray.measure import CHOOSING_SHIFTS, Scorer, calibrate
from triton_models.chest_xray.preprocess import STRIDE
from triton_models.trained import TrainedModel

SEED = 20261120
QUICK = Recipe(width=16, epochs=1, average=0.8, choose_last=1, people=60)


def export(served: nn.Module, side: int, path: Path) -> None:
    """Writes ONNX of `pixels` to `probability` [batch, 2] and `places` [batch, side / 32, side / 32]."""
    files.export(served, (1, side, side), {"probability": (2,)}, path)
    add_map(path, side // STRIDE)


def train(
    data_dir: Path,
    out_dir: Path,
    *,
    quick: bool = False,
    seed: int = SEED,
    init: Path | None = None,
    progress: Progress | None = None,
) -> TrainedModel:
    """Trains, chooses, calibrates, exports and measures; writes everything into `out_dir` and says what came out.

    `quick` takes a few people, a thin network and one epoch, to rehearse. A killed run with the same recipe, seed and
    data goes on from its last epoch. Two runs on one machine give the same file. Raises `UserError` where the data is
    missing or too small and where the loss is lost.
    """
    say: Progress = progress or (lambda line: None)
    recipe = QUICK if quick else Recipe()
    out_dir.mkdir(parents=True, exist_ok=True)
    division = divide(data_dir, seed, recipe.people)
    sizes = tuple(len(part) for part in (division.train, division.validation, division.test))
    say("images: {} to train on, {} to choose by, {} held back".format(*sizes))
    state = begin(recipe, len(division.train), seed, init)
    best = learn(division, state, recipe, seed, out_dir, say)
    say("exporting and calibrating")
    state.network.load_state_dict(best)
    onnx_path = out_dir / "model.onnx"
    served = Served(state.network.to("cpu").eval(), 1.0, 0.0)
    export(served, recipe.side, onnx_path)
    shifts = CHOOSING_SHIFTS[:1] if quick else CHOOSING_SHIFTS
    truth = np.array([picture.pneumonia for picture in division.validation])
    logits = {name: raw_logits(Scorer(onnx_path, threads=2)(division.validation, name)) for name in shifts}
    point = calibrate(truth, logits)
    export(Served(served.network, point.temperature, point.bias), recipe.side, onnx_path)
    say(f"measuring on {len(division.test)} images of people held back")
    return report.write(
        card=CARD,
        onnx=onnx_path,
        division=division,
        point=point,
        history=state.history,
        recipe=asdict(recipe),
        versions={"torch": torch.__version__},
        seed=seed,
        quick=quick,
    )
