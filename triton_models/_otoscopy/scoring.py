"""Runs an exported otoscope ONNX on photographs as it is served, after named shifts; no torch and no judgement."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from triton_models._otoscopy.collection import Picture, colours
from triton_models._otoscopy.shifts import SHIFTS
from triton_models._otoscopy.view import Colour, prepare

Floats = npt.NDArray[np.float64]
CHOOSING_SHIFTS = ("as delivered", "dark", "warm lamp", "blur", "turned", "cropped")
"""Shifts of unseen folds that choose calibration, threshold and band."""


class Scorer:
    """One ONNX file on one thread, with the models' own preprocessing."""

    def __init__(self, onnx: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])

    def __call__(self, pictures: Sequence[Picture], shift: str = "as delivered") -> Floats:
        """Probabilities [n, labels] of the photographs after the named shift."""
        pixels = prepared(pictures, shift)
        found = [
            self._session.run(None, {"pixels": pixels[start : start + 16]})[0] for start in range(0, len(pixels), 16)
        ]
        return np.concatenate(found).astype(np.float64)


def prepared(pictures: Sequence[Picture], shift: str) -> Colour:
    """uint8 [n, 3, side, side] of the photographs after the named shift, as a consumer would prepare them."""
    return np.stack([prepare(SHIFTS[shift](photograph)) for photograph in colours(one.path for one in pictures)])
