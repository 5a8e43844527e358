"""Whether the served network tells viral from bacterial pneumonia, by what is in its file already; nothing serves it.

`python -m triton_models.chest_xray.subtypes DATA` measures, on the pneumonias of people held back, the second output
that helped training and a logistic regression on the frozen channels of the last layer.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from triton_models import figures
from triton_models.chest_xray.card import CARD
from triton_models.chest_xray.collection import Picture, divide
from triton_models.chest_xray.measure import prepared

SEED = 20261120
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
RECALL = 0.9
Floats = npt.NDArray[np.float64]


class Inside:
    """Runs the served file with what is inside of it as outputs."""

    def __init__(self, path: Path) -> None:
        model = onnx.load(str(path))
        places = next(node for node in model.graph.node if node.op_type == "Conv" and "head" in node.name)
        mean = next(node for node in model.graph.node if node.input[:1] == places.output[:1] and "Mean" in node.op_type)
        self._names = [places.input[0], mean.output[0]]
        for name in self._names:
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
        self._session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def __call__(self, pictures: Sequence[Picture]) -> tuple[Floats, Floats]:
        """Mean, maximum and deviation of each channel [n, 768], and the log odds of virus against bacterium [n]."""
        channels, odds = [], []
        for start in range(0, len(pictures), 16):
            pixels = prepared(pictures[start : start + 16], "as delivered")
            seen, logits = self._session.run(self._names, {"pixels": pixels})
            channels.append(_summed(seen))
            odds.append(logits[:, 1])
        return np.concatenate(channels).astype(np.float64), np.concatenate(odds).astype(np.float64)

    def channels(self, pixels: npt.NDArray[np.uint8]) -> Floats:
        """Mean, maximum and deviation of each channel [n, 768] for what the model would be given."""
        found = [
            _summed(self._session.run(self._names[:1], {"pixels": pixels[start : start + 16]})[0])
            for start in range(0, len(pixels), 16)
        ]
        return np.concatenate(found).astype(np.float64)

    def logits(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Both logits [n, 2] before calibration: pneumonia against normal, virus against bacterium."""
        (found,) = self._session.run(self._names[1:], {"pixels": pixels})
        return np.asarray(found)


def _summed(seen: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    flat = seen.reshape(*seen.shape[:2], -1)
    return np.concatenate([flat.mean(axis=2), flat.max(axis=2), flat.std(axis=2)], axis=1)


def measure(data: Path) -> dict[str, dict[str, list[float]]]:
    """Figures by what told virus from bacterium; strength and threshold are chosen by validation."""
    division, inside = divide(data, SEED), Inside(Path(__file__).with_name(CARD.weights))
    parts = {
        name: [one for one in part if one.pneumonia]
        for name, part in (("train", division.train), ("validation", division.validation), ("test", division.test))
    }
    viral = {name: np.array([one.subtype == "virus" for one in part]) for name, part in parts.items()}
    channels, odds = {}, {}
    for name, part in parts.items():
        channels[name], odds[name] = inside(part)
    fitted = [
        make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)).fit(
            channels["train"], viral["train"]
        )
        for strength in STRENGTHS
    ]
    best = max(
        fitted,
        key=lambda each: figures.rank_auroc(viral["validation"], each.decision_function(channels["validation"])),
    )
    told = {
        "second output of the network": odds,
        "readout of frozen channels": {name: best.decision_function(channels[name]) for name in parts},
    }
    groups = [one.group for one in parts["test"]]
    return {
        what: {
            "validation auroc": [round(figures.rank_auroc(viral["validation"], scores["validation"]), 4)],
            "auroc": figures.rounded(figures.auroc(viral["test"], scores["test"], groups)),
            **_at(viral, scores, groups),
        }
        for what, scores in told.items()
    }


def _at(
    viral: dict[str, npt.NDArray[np.bool_]], scores: dict[str, Floats], groups: list[str]
) -> dict[str, list[float]]:
    threshold = figures.threshold_for(viral["validation"], scores["validation"], RECALL)
    return {
        f"sensitivity to viral at {RECALL} on validation": figures.rounded(
            figures.sensitivity(viral["test"], scores["test"], threshold, groups)
        ),
        "specificity there": figures.rounded(figures.specificity(viral["test"], scores["test"], threshold, groups)),
    }


def main() -> None:
    """Prints the figures."""
    tell(measure, __doc__)


def tell(measured: Callable[[Path], Mapping[str, Mapping[str, Sequence[float]]]], about: str | None) -> None:
    """Prints what `measured` finds in the folder that the command line names: figures, with intervals where they have
    some."""
    asks = argparse.ArgumentParser(description=about)
    asks.add_argument("data", type=Path)
    asks.add_argument("--json", action="store_true", help="for machines")
    given = asks.parse_args()
    found = measured(given.data)
    if given.json:
        print(json.dumps(found, indent=1))
        return
    for what, lines in found.items():
        print(what)
        for name, figure in lines.items():
            print(f"  {name}: " + ("{:.3f} ({:.3f}-{:.3f})".format(*figure) if figure[1:] else f"{figure[0]:g}"))


if __name__ == "__main__":
    main()
