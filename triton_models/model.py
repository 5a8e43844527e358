"""What a model folder must offer, and the checks that say so in plain words; finding folders is the package door's.

Nothing here knows a particular model, Triton or torch.
"""

import importlib
import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.card import ModelCard
from schemas.errors import RejectedInput, StepFailed, UserError
from schemas.findings import Finding
from triton_models.figures import Figure

Tensor = npt.NDArray[Any]
Prepare = Callable[[Any], Tensor]
View = tuple[float, ...]
PrepareSeen = Callable[[Any], tuple[Tensor, View]]
PrepareMany = Callable[[Sequence[Any]], tuple[Tensor, Mapping[int, RejectedInput]]]
Own = Callable[[Finding, Any], Finding]
# (outputs, card): the card of the version that answered; without one the folder's own.
Decode = Callable[..., Sequence[Finding]]
Judge = Callable[[Path, Path, ModelCard], Mapping[str, Figure]]

_SEMANTIC = re.compile(r"\d+\.\d+\.\d+")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class Model:
    """One model folder, checked.

    `prepare` turns one observed thing (a decoded image, a mapping of features) into one tensor without the batch axis
    and raises RejectedInput for what the model must not see. `decode` turns Triton's outputs, each (rows, ...), into
    one Finding a row. `weights_path` is the ONNX file; it need not exist before the first training. `features` are the
    names that a model of named measurements takes, in its order; none for a model of images. `prepare_many`, where a
    model offers it, prepares a batch at once: rows of all things, and by place what `prepare` would have raised (such
    rows are not to be asked). `own`, where a model offers it, turns a finding and the thing that it is about into the
    finding as it holds for whose thing it is. `prepare_seen`, where a model tells places on images, prepares like
    `prepare` and says besides which part of the image the tensor shows (`schemas.events.Heat.view`).
    """

    card: ModelCard
    prepare: Prepare
    decode: Decode
    weights_path: Path
    features: tuple[str, ...] = ()
    prepare_many: PrepareMany | None = None
    own: Own | None = None
    prepare_seen: PrepareSeen | None = None

    @property
    def train(self) -> Callable[..., Any]:
        """The training function named by the card; imported on use only, because it brings torch along."""
        function: Callable[..., Any] = _function(self.card.train)
        return function

    @property
    def judge(self) -> Judge:
        """The judging function named by the card; imported on use only. Raises UserError where the card names none.

        `judge(weights, holdout, card)` runs the ONNX file over the frozen rows of `holdout` and returns figures
        (value, low, high) by name, the gate's metric among them, so that two versions can be held against each other.
        """
        if not self.card.judge:
            raise UserError(
                f"The card of {self.card.name} names no `judge`: no version of it can be held against another."
            )
        function: Judge = _function(self.card.judge)
        return function


def load(package: str, folder: Path) -> Model:
    """The model of `folder`, importable as `package`; raises UserError naming the file and what is wrong with it."""
    card = _attribute(package, "card", "CARD", folder)
    if not isinstance(card, ModelCard):
        raise UserError(f"{folder}/card.py: CARD must be a schemas.card.ModelCard, not {type(card).__name__}.")
    prepare = _attribute(package, "preprocess", "prepare", folder)
    decode = _attribute(package, "decode", "decode", folder)
    features = tuple(_attribute(package, "preprocess", "FEATURES", folder)) if card.consumes == "vitals" else ()
    preprocess = importlib.import_module(f"{package}.preprocess")
    problems = [*_card_problems(card, folder), *_callable_problems(folder, prepare=prepare, decode=decode)]
    if problems:
        raise UserError(f"The model folder {folder} is not usable: " + "; ".join(problems) + ".")
    return Model(
        card=card,
        prepare=prepare,
        decode=decode,
        weights_path=folder / card.weights,
        features=features,
        prepare_many=getattr(preprocess, "prepare_many", None),
        own=getattr(importlib.import_module(f"{package}.decode"), "own", None),
        prepare_seen=getattr(preprocess, "prepare_seen", None),
    )


def binary_findings(card: ModelCard, outputs: Mapping[str, Tensor]) -> list[Finding]:
    """One Finding a row of the card's first output, probabilities (rows, 2) that sum to 1, in the order of the labels.

    The positive label is named where its score reaches the operating point's threshold; a score inside the
    abstention band (inclusive) is marked as abstained and keeps its label. Raises StepFailed where a row is no
    probability distribution: then what is served is not what the card describes.
    """
    probability = _distributions(card, outputs)
    positive = list(card.labels).index(card.positive_label)
    negative = next(label for label in card.labels if label != card.positive_label)
    threshold = card.threshold
    low, high = card.abstention_band
    return [
        Finding(
            label=card.positive_label if row[positive] >= threshold else negative,
            score=float(row[positive]),
            threshold=threshold,
            probabilities={label: float(value) for label, value in zip(card.labels, row, strict=True)},
            abstained=bool(low <= row[positive] <= high),
            reason=_inside(float(row[positive]), card.abstention_band),
        )
        for row in probability
    ]


def class_findings(card: ModelCard, outputs: Mapping[str, Tensor]) -> list[Finding]:
    """One Finding a row of the card's first output, probabilities (rows, labels) that sum to 1: the likeliest label.

    `score` is that label's probability; inside the abstention band (inclusive) the row is marked as abstained. Raises
    StepFailed where a row is no probability distribution.
    """
    probability = _distributions(card, outputs)
    low, high = card.abstention_band
    found = []
    for row in probability:
        place = int(row.argmax())
        found.append(
            Finding(
                label=card.labels[place],
                score=float(row[place]),
                threshold=card.threshold,
                probabilities={label: float(value) for label, value in zip(card.labels, row, strict=True)},
                abstained=bool(low <= row[place] <= high),
                reason=_inside(float(row[place]), card.abstention_band),
            )
        )
    return found


def _inside(probability: float, band: tuple[float, float]) -> str:
    """Why a finding of this probability abstains, empty where it does not."""
    low, high = band
    if not low <= probability <= high:
        return ""
    return f"the probability {probability:.3f} lies between {low:g} and {high:g}, where the model does not decide"


def _distributions(card: ModelCard, outputs: Mapping[str, Tensor]) -> npt.NDArray[np.float64]:
    probability: npt.NDArray[np.float64] = np.asarray(outputs[card.outputs[0].name], dtype=np.float64)
    if probability.ndim != 2 or probability.shape[1] != len(card.labels):
        raise StepFailed(f"{card.name} answers {probability.shape}, not rows of {len(card.labels)} probabilities")
    if not np.isfinite(probability).all() or np.abs(probability.sum(axis=1) - 1.0).max(initial=0.0) > 1e-3:
        raise StepFailed(f"{card.name} answers rows that are not probabilities")
    return probability


def _attribute(package: str, module: str, name: str, folder: Path) -> Any:
    if not (folder / f"{module}.py").is_file():
        raise UserError(
            f"The model folder {folder} has no {module}.py; see CONTRIBUTING for what a model folder holds."
        )
    try:
        return getattr(importlib.import_module(f"{package}.{module}"), name)
    except AttributeError:
        raise UserError(f"{folder}/{module}.py does not define `{name}`.") from None


def _callable_problems(folder: Path, **functions: Any) -> list[str]:
    return [f"`{name}` is not a function" for name, found in functions.items() if not callable(found)]


def _card_problems(card: ModelCard, folder: Path) -> list[str]:
    """Everything that contradicts itself on a card, as phrases."""
    low, high = card.abstention_band
    checks = {
        f"the card's name {card.name!r} must be the folder's name {folder.name!r}": card.name == folder.name,
        f"the name {card.name!r} must be lower-case letters, digits and _": _NAME.fullmatch(card.name) is not None,
        f"the version {card.version!r} must look like 1.0.0": _SEMANTIC.fullmatch(card.version) is not None,
        "a card with an operating point names one of its labels as the positive one, and only such a card": (
            card.positive_label in card.labels if card.operating_point else not card.positive_label
        ),
        "labels must be at least two and differ": 2 <= len(card.labels) == len(set(card.labels)),
        "inputs and outputs must not be empty": bool(card.inputs) and bool(card.outputs),
        "tensor names must differ": _distinct([spec.name for spec in (*card.inputs, *card.outputs)]),
        "the threshold must lie in [0, 1]": 0.0 <= card.threshold <= 1.0,
        f"the abstention band ({low}, {high}) must be ordered and lie in [0, 1]": 0.0 <= low <= high <= 1.0,
        "a follow-up is another task, asked on one of the card's labels": card.follow_up is None
        or (card.follow_up.when_label in card.labels and card.follow_up.task != card.name),
        "synonyms must mean labels of the card": set(card.synonyms.values()) <= {*card.labels, ""},
        "max_batch_size must be at least 1": card.serving.max_batch_size >= 1,
        "preferred batch sizes must not exceed max_batch_size": all(
            1 <= size <= card.serving.max_batch_size for size in card.serving.preferred_batch_sizes
        ),
        f"the training function {card.train!r} must be a dotted path to a module of this project": _exists(card.train),
        f"the judging function {card.judge!r} must be a dotted path to a module of this project, or empty": (
            not card.judge or _exists(card.judge)
        ),
    }
    return [phrase for phrase, holds in checks.items() if not holds]


def _function(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _distinct(names: Sequence[str]) -> bool:
    return len(names) == len(set(names))


def _exists(path: str) -> bool:
    """Whether the module of a dotted path can be found, without importing it."""
    module = path.rpartition(".")[0]
    try:
        return bool(module) and importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
