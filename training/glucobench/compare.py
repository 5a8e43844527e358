"""Runs every forecaster over a file by the protocol, once a seed; printing is the command's matter."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from schemas.errors import UserError
from training.glucobench import baselines, networks, ours, protocol
from training.glucobench.judged import Errors, judge
from training.glucobench.protocol import Parts, Protocol, Windows
from training.glucobench.sketch import sketch
from triton_models import series

Say = Callable[[str], None]
Forecaster = Callable[[Windows], npt.NDArray[np.float64]]
MOST_TRAIN = 250_000
# The networks that are trained on the file alone see less of it, or a run would take an hour on one core.
LSTM_WINDOWS, LSTM_PASSES = 40_000, 2.0
TRANSFORMER_WINDOWS, TRANSFORMER_PASSES = 60_000, 3.0
FORECASTERS = ("persistence", "linear_12", "linear_84", "boosting", "lstm", "transformer", "ours")
PARTS = ("in", "out")


@dataclass(frozen=True, slots=True)
class Seeded:
    """One seed's division: errors by part and forecaster, and whose windows they are."""

    seed: int
    errors: Mapping[str, Mapping[str, Errors]]
    people: Mapping[str, npt.NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A file's outcome. `pretrained_on` names the sets that ours had seen, `recognised` those that the file holds."""

    seeds: Sequence[Seeded]
    subjects: int
    too_short: int
    pretrained_on: Sequence[str]
    recognised: Sequence[str]


def compare(path: Path, asked: Protocol, seeds: int, say: Say) -> Comparison:
    """Every forecaster of FORECASTERS on the Parquet file of readings; `say` hears one line a step.

    Raises UserError for a file that holds no readings, or no segment of the length that is asked for.
    """
    torch.set_num_threads(1)
    read = series.read(path)
    for sentence in read.left_out():
        say(sentence)
    everyone = [found for one in read.series if (found := protocol.segments(one, asked))]
    if not everyone:
        raise UserError(
            f"{path.name} holds no segment of {asked.min_segment} steps without a gap of more than {asked.gap_min:g} "
            "minutes; allow a longer gap or a shorter segment."
        )
    begun = ours.choose(sketch(read.series))
    say(_about(begun))
    # One thread: where others work too, threads that wait for each other take many times as long.
    with threadpool_limits(limits=1):
        done = [_seeded(everyone, asked, seed, begun, say) for seed in range(seeds)]
    return Comparison(done, len(everyone), len(read.series) - len(everyone), begun.trained_on, begun.left_out)


def _about(begun: ours.Pretrained) -> str:
    seen = f"the file holds readings of {', '.join(begun.left_out)}; " if begun.left_out else ""
    if not begun.networks:
        return f"{seen}no weights are left that have not seen it: ours learns from the file alone"
    return f"{seen}ours was pretrained on {', '.join(begun.trained_on)}"


def _seeded(
    everyone: Sequence[Sequence[protocol.Segment]], asked: Protocol, seed: int, begun: ours.Pretrained, say: Say
) -> Seeded:
    parts = protocol.parts(everyone, asked, seed, MOST_TRAIN)
    say(
        f"seed {seed}: {parts.subjects} subjects, {parts.subjects_outside} out of distribution; windows: "
        f"{len(parts.train)} to learn from, {len(parts.inside)} and {len(parts.outside)} to test"
    )
    judged = {"in": parts.inside, "out": parts.outside}
    judged = {part: windows for part, windows in judged.items() if len(windows)}
    errors: dict[str, dict[str, Errors]] = {part: {} for part in judged}
    for name in FORECASTERS:
        started = time.monotonic()
        forecast = _fitted(name, parts, asked, seed, begun)
        for part, windows in judged.items():
            errors[part][name] = judge(windows.truth, forecast(windows))
        say(f"seed {seed}: {name}, {time.monotonic() - started:.0f} s")
    return Seeded(seed, errors, {part: windows.subject for part, windows in judged.items()})


def _fitted(name: str, parts: Parts, asked: Protocol, seed: int, begun: ours.Pretrained) -> Forecaster:
    train = parts.train
    torch.manual_seed(seed)
    if name == "persistence":
        return baselines.persistence
    if name.startswith("linear_"):
        return baselines.Linear(int(name.removeprefix("linear_")), train)
    if name == "boosting":
        return baselines.Boosting(train, seed)
    if name == "lstm":
        return networks.Usual(networks.Recurrent(), train, seed, windows=LSTM_WINDOWS, passes=LSTM_PASSES)
    if name == "transformer":
        network = networks.Attention(asked.max_input)
        return networks.Usual(network, train, seed, windows=TRANSFORMER_WINDOWS, passes=TRANSFORMER_PASSES)
    return ours.Ours(begun, train, seed)
