"""Trains `chest_xray` from scratch on one CPU or GPU and exports it to ONNX; the only torch file of this model."""

import hashlib
import json
import math
import pickle
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from schemas.errors import UserError
from triton_models.calibration import raw_logits
from triton_models.chest_xray import report
from triton_models.chest_xray.augment import augment
from triton_models.chest_xray.card import CARD
from triton_models.chest_xray.collection import Division, divide, load
from triton_models.chest_xray.measure import CHOOSING_SHIFTS, Scorer, calibrate, prepared
from triton_models.chest_xray.preprocess import SIDE
from triton_models.figures import rank_auroc
from triton_models.half import halve_weights
from triton_models.trained import TrainedModel

Progress = Callable[[str], None]
SEED = 20261120
CACHE_SIDE = 160
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a run may differ in besides data and seed."""

    side: int = SIDE
    width: int = 32
    epochs: int = 20
    batch: int = 32
    peak_rate: float = 1.5e-3
    weight_decay: float = 0.05
    smoothing: float = 0.05
    mixup: float = 0.2
    average: float = 0.997
    subtype_weight: float = 0.3
    choose_last: int = 6
    people: int | None = None


QUICK = Recipe(width=16, epochs=1, average=0.8, choose_last=1, people=60)


class LungNet(nn.Module):
    """A residual network of 18 layers, `width` channels wide at its first stage, on one grey channel.

    It normalises each image itself and classifies every place before averaging.

    In: uint8 or float [batch, 1, side, side], 0-255. Out: logits [batch, 2]: pneumonia against normal, and virus
    against bacterium, which only serves training. Classifying before averaging keeps a row's result independent of
    the batch that it travels in, bit by bit.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(1, width, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        ]
        channels = width
        for stage in range(4):
            for block in range(2):
                wider, stride = width << stage, 2 if stage and not block else 1
                shortcut = None
                if stride != 1 or wider != channels:
                    shortcut = nn.Sequential(
                        nn.AvgPool2d(stride, ceil_mode=True) if stride != 1 else nn.Identity(),
                        nn.Conv2d(channels, wider, 1, bias=False),
                        nn.BatchNorm2d(wider),
                    )
                layers.append(BasicBlock(channels, wider, stride, shortcut))
                channels = wider
        self.trunk = nn.Sequential(*layers)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.drop = nn.Dropout2d(0.2)
        self.head = nn.Conv2d(channels, 2, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        grey = pixels.float()
        centre = grey.mean(dim=(2, 3), keepdim=True)
        spread = (grey - centre).square().mean(dim=(2, 3), keepdim=True).sqrt()
        places = self.head(self.drop(self.trunk((grey - centre) / (spread + 4.0))))
        logits: Tensor = places.mean(dim=(2, 3))
        return logits


def batches(
    images: npt.NDArray[np.uint8], truth: npt.NDArray[np.bool_], recipe: Recipe, seed: int, epoch: int
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]]:
    """Batches of one epoch, half of each class, made ahead by one thread; equal for equal seed and epoch."""
    rng = np.random.default_rng((seed, epoch))
    half = recipe.batch // 2
    steps = max(1, len(images) // recipe.batch)
    sick, well = np.flatnonzero(truth), np.flatnonzero(~truth)

    def deal(pool: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        rounds = math.ceil(steps * half / len(pool))
        return np.concatenate([rng.permutation(pool) for _ in range(rounds)])[: steps * half].reshape(steps, half)

    order = np.concatenate([deal(sick), deal(well)], axis=1)
    ready: queue.Queue[tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]] | None] = queue.Queue(maxsize=4)

    def make() -> None:
        for chosen in order:
            strangers = rng.integers(0, len(images), len(chosen))
            made = [augment(images[i], images[j], recipe.side, rng) for i, j in zip(chosen, strangers, strict=True)]
            ready.put((chosen, np.stack(made)[:, None]))
        ready.put(None)

    threading.Thread(target=make, daemon=True).start()
    while (batch := ready.get()) is not None:
        yield batch


def loss_of(logits: Tensor, pneumonia: Tensor, virus: Tensor, recipe: Recipe) -> Tensor:
    """Smoothed cross entropy on pneumonia, plus a share for virus against bacterium where there is pneumonia."""
    smooth = pneumonia * (1 - recipe.smoothing) + recipe.smoothing / 2
    main = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], smooth)
    side = nn.functional.binary_cross_entropy_with_logits(logits[:, 1], virus, reduction="none")
    return main + recipe.subtype_weight * (side * pneumonia.floor()).mean()


@dataclass(slots=True)
class State:
    """A run between two epochs, whole: written after each, so that a killed run goes on where it was."""

    network: LungNet
    averaged: Any
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    mixer: np.random.Generator
    history: list[dict[str, float]]

    @classmethod
    def begin(cls, recipe: Recipe, rows: int, seed: int, init: Path | None) -> "State":
        """A fresh run; `init` names domain weights (a state dictionary of this network) to start from."""
        torch.manual_seed(seed)
        network = LungNet(recipe.width)
        if init is not None:
            start_from(network, init)
        network = network.to(DEVICE).to(memory_format=torch.channels_last)
        optimiser = torch.optim.AdamW(network.parameters(), recipe.peak_rate, weight_decay=recipe.weight_decay)
        steps = max(1, rows // recipe.batch) * recipe.epochs
        return cls(
            network=network,
            averaged=torch.optim.swa_utils.AveragedModel(
                network,
                multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average),  # type: ignore[no-untyped-call]
                use_buffers=True,
            ),
            optimiser=optimiser,
            schedule=torch.optim.lr_scheduler.OneCycleLR(
                optimiser, recipe.peak_rate, total_steps=steps, pct_start=0.15, div_factor=20.0
            ),
            mixer=np.random.default_rng((seed, 7)),
            history=[],
        )

    def _parts(self) -> tuple[Any, ...]:
        return self.network, self.averaged, self.optimiser, self.schedule

    def save(self, path: Path, mark: str) -> None:
        """Writes everything beside `mark`, which names the recipe and data that it belongs to; atomic."""
        torch.save(
            {
                "mark": mark,
                "parts": [part.state_dict() for part in self._parts()],
                "mixer": self.mixer.bit_generator.state,
                "dice": torch.get_rng_state(),
                "history": self.history,
            },
            path.with_suffix(".new"),
        )
        path.with_suffix(".new").replace(path)

    def load(self, path: Path, mark: str) -> bool:
        """Takes over a checkpoint of the same recipe and data; False where there is none."""
        if not path.is_file():
            return False
        kept = torch.load(path, map_location=DEVICE, weights_only=True)
        if kept["mark"] != mark:
            return False
        for part, state in zip(self._parts(), kept["parts"], strict=True):
            part.load_state_dict(state)
        self.mixer.bit_generator.state = kept["mixer"]
        torch.set_rng_state(kept["dice"].cpu())
        self.history = kept["history"]
        return True


def start_from(network: LungNet, init: Path) -> None:
    """Loads weights whose names and shapes fit; a `UserError` if fewer than half of the network's do."""
    try:
        given = torch.load(init, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise UserError(f"--init {init.name} is not a file of PyTorch weights ({type(error).__name__})") from error
    own = network.state_dict()
    fitting = {name: value for name, value in given.items() if name in own and value.shape == own[name].shape}
    if len(fitting) * 2 < len(own):
        raise UserError(f"--init {init.name} holds {len(fitting)} of the {len(own)} tensors of this network")
    network.load_state_dict(fitting, strict=False)


def run_epoch(
    state: State,
    images: npt.NDArray[np.uint8],
    truth: npt.NDArray[np.bool_],
    virus: npt.NDArray[np.bool_],
    recipe: Recipe,
    seed: int,
) -> float:
    """One pass; returns the mean loss. A loss that is not finite stops the run with its cause and what to try."""
    epoch, total, steps = len(state.history), 0.0, 0
    state.network.train()
    for chosen, made in batches(images, truth, recipe, seed, epoch):
        pixels = torch.from_numpy(made).to(DEVICE).float()
        pneumonia = torch.from_numpy(truth[chosen]).to(DEVICE).float()
        subtype = torch.from_numpy(virus[chosen]).to(DEVICE).float()
        if recipe.mixup > 0 and state.mixer.random() < 0.5:
            share = float(state.mixer.beta(recipe.mixup, recipe.mixup))
            other = torch.from_numpy(state.mixer.permutation(len(chosen))).to(DEVICE)
            pixels = share * pixels + (1 - share) * pixels[other]
            pneumonia = share * pneumonia + (1 - share) * pneumonia[other]
            subtype = share * subtype + (1 - share) * subtype[other]
        with torch.autocast(DEVICE, torch.bfloat16):
            logits = state.network(pixels.to(memory_format=torch.channels_last))
        loss = loss_of(logits.float(), pneumonia, subtype, recipe)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise UserError(
                f"the loss became {value} in epoch {epoch + 1}, step {steps + 1}: the weights are lost. Halve the "
                f"recipe's peak_rate ({recipe.peak_rate:g}) or look for damaged images, then start again"
            )
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(state.network.parameters(), 2.0)
        state.optimiser.step()
        state.schedule.step()
        state.averaged.update_parameters(state.network)
        total, steps = total + value, steps + 1
    return total / max(1, steps)


def logits_of(network: nn.Module, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Pneumonia logits, before calibration, of uint8 images [n, 1, side, side]."""
    network.eval()
    found = []
    with torch.inference_mode(), torch.autocast(DEVICE, torch.bfloat16):
        for start in range(0, len(images), 64):
            pixels = torch.from_numpy(images[start : start + 64]).to(DEVICE).float()
            found.append(network(pixels.to(memory_format=torch.channels_last))[:, 0].float().cpu().numpy())
    return np.concatenate(found).astype(np.float64)


class Served(nn.Module):
    """The trained network with its calibration, as served: uint8 [batch, 1, side, side] to [batch, 2] probabilities.

    Probabilities are (normal, pneumonia) = 1 - p, p with p = sigmoid(logit / temperature + bias).
    """

    def __init__(self, network: LungNet, temperature: float, bias: float) -> None:
        super().__init__()
        self.network = network
        self.temperature = temperature
        self.bias = bias

    def forward(self, pixels: Tensor) -> Tensor:
        ill = torch.sigmoid(self.network(pixels)[:, :1] / self.temperature + self.bias)
        return torch.cat([1.0 - ill, ill], dim=1)


def export(served: Served, side: int, path: Path) -> None:
    """Writes ONNX (opset 17, dynamic batch) whose weights are stored as float16 and computed as float32.

    Runtimes fold the casts when they load the file, so the saved half costs no time. Batch normalisation is folded
    into the convolutions first.
    """
    served.eval()
    example = torch.zeros((2, 1, side, side), dtype=torch.uint8)
    torch.onnx.export(
        served,
        (example,),
        str(path),
        input_names=["pixels"],
        output_names=["probability"],
        opset_version=17,
        dynamic_axes={"pixels": {0: "batch"}, "probability": {0: "batch"}},
        dynamo=False,
    )
    model = onnx.load(str(path))
    halve_weights(model)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


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
    state = State.begin(recipe, len(division.train), seed, init)
    best = _learn(division, state, recipe, seed, out_dir, say)
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
        name=CARD.name,
        version=CARD.version,
        onnx=onnx_path,
        division=division,
        point=point,
        history=state.history,
        recipe=asdict(recipe),
        versions={"torch": torch.__version__, "onnx": onnx.__version__},
        seed=seed,
        quick=quick,
    )


def _learn(
    division: Division, state: State, recipe: Recipe, seed: int, out_dir: Path, say: Progress
) -> dict[str, Tensor]:
    """Runs the epochs that are left; returns the averaged weights whose worst shift on validation was best."""
    images = load(division.train, CACHE_SIDE)
    truth = np.array([picture.pneumonia for picture in division.train])
    virus = np.array([picture.subtype == "virus" for picture in division.train])
    judged = np.array([picture.pneumonia for picture in division.validation])
    views = {name: prepared(division.validation, name) for name in CHOOSING_SHIFTS[:4]}
    mark = hashlib.sha256(json.dumps([asdict(recipe), seed, division.data_hash]).encode()).hexdigest()
    last, chosen = out_dir / "last.pt", out_dir / "best.pt"
    if state.load(last, mark):
        say(f"going on after epoch {len(state.history)}")
    while (epoch := len(state.history)) < recipe.epochs:
        began = time.monotonic()
        row = {"epoch": float(epoch), "loss": run_epoch(state, images, truth, virus, recipe, seed)}
        late = epoch >= recipe.epochs - recipe.choose_last
        for name in CHOOSING_SHIFTS[: 4 if late else 1]:
            row[f"auroc, {name}"] = rank_auroc(judged, logits_of(state.averaged.module, views[name]))
        row["worst"] = min(value for name, value in row.items() if name.startswith("auroc")) if late else -1.0
        row["seconds"] = time.monotonic() - began
        if late and row["worst"] > max((earlier["worst"] for earlier in state.history), default=-1.0):
            torch.save(state.averaged.module.state_dict(), chosen)
        state.history.append(row)
        state.save(last, mark)
        say(f"epoch {epoch + 1} of {recipe.epochs}: " + ", ".join(f"{key} {value:.4g}" for key, value in row.items()))
    best: dict[str, Tensor] = torch.load(chosen, map_location="cpu", weights_only=True)
    return best
