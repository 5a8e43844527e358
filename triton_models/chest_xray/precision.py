"""What half precision and whole numbers cost `chest_xray` in accuracy on the CPU; no torch, nothing that serves.

`python -m triton_models.chest_xray.precision DATA` prints a line for each way of storing the weights.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from triton_models import figures
from triton_models.chest_xray.card import CARD
from triton_models.chest_xray.collection import divide
from triton_models.chest_xray.measure import Scorer, prepared

SEED = 20261120
CALIBRATION_IMAGES = 96


class Views(CalibrationDataReader):  # type: ignore[misc]
    """Training images, one at a time, for the ranges of whole numbers."""

    def __init__(self, pixels: npt.NDArray[np.uint8]) -> None:
        self._left: Iterator[npt.NDArray[np.uint8]] = iter(pixels[:, None])

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        """The next image, None after the last."""
        one = next(self._left, None)
        return None if one is None else {"pixels": one}


def widen(served: Path, out: Path) -> None:
    """The served file with its half-precision weights written out as float32, the Casts gone."""
    model = onnx.load(str(served))
    graph = model.graph
    kept = {tensor.name: tensor for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "Cast" and node.input[0] in kept]:
        tensor = kept[node.input[0]]
        values = onnx.numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, node.output[0]))
        graph.node.remove(node)
    onnx.save(model, str(out))


def milliseconds(path: Path, pixels: npt.NDArray[np.uint8]) -> float:
    """Median time of one image on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    taken = []
    for one in pixels[:40, None]:
        began = time.thread_time()
        session.run(None, {"pixels": one})
        taken.append((time.thread_time() - began) * 1e3)
    return statistics.median(taken)


def main(data: Path) -> None:
    """Measures both files on the test part at the card's threshold."""
    division = divide(data, SEED)
    truth = np.array([picture.pneumonia for picture in division.test])
    groups = [picture.group for picture in division.test]
    served = Path(__file__).with_name(CARD.weights)
    with tempfile.TemporaryDirectory() as folder:
        wide, whole = Path(folder) / "wide.onnx", Path(folder) / "whole.onnx"
        widen(served, wide)
        views = prepared(division.train[:: len(division.train) // CALIBRATION_IMAGES], "as delivered")
        quantize_static(
            str(wide),
            str(whole),
            Views(views),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["Conv"],
        )
        for name, path in (("float16 stored, float32 computed", served), ("int8", whole)):
            scores = Scorer(path)(division.test)
            shown = [
                "{:.4f} ({:.4f}-{:.4f})".format(*figure)
                for figure in (
                    figures.auroc(truth, scores, groups),
                    figures.sensitivity(truth, scores, CARD.threshold, groups),
                    figures.specificity(truth, scores, CARD.threshold, groups),
                )
            ]
            size, taken = path.stat().st_size / 1e6, milliseconds(path, views)
            print(f"| {name} | {size:.1f} | {taken:.1f} | {' | '.join(shown)} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
