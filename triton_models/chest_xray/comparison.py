"""Measures exported files of other families as `chest_xray` is measured; no torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

from triton_models import figures
from triton_models.chest_xray.collection import Division, Picture
from triton_models.chest_xray.measure import prepared
from triton_models.figures import rank_auroc, rounded

RECALLS = (0.98, 0.99)
SHIFTS = ("as delivered", "edge enhanced")
"""The second is the one that costs the served model most."""
Pixels = npt.NDArray[np.uint8]


def views(pictures: Sequence[Picture], shift: str, side: int) -> Pixels:
    """What the model would be given of the pictures after the named shift, made smaller."""
    shrunk = [
        np.asarray(Image.fromarray(view[0]).resize((side, side), Image.Resampling.BILINEAR))
        for view in prepared(pictures, shift)
    ]
    return np.stack(shrunk)[:, None]


def scores(path: Path, pixels: Pixels) -> npt.NDArray[np.float64]:
    """Probability of pneumonia by the exported file."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = [session.run(None, {"pixels": pixels[start : start + 16]})[0][:, 1] for start in range(0, len(pixels), 16)]
    return np.concatenate(found).astype(np.float64)


def judge(path: Path, division: Division, foreign: Sequence[Picture], side: int) -> dict[str, Any]:
    """Thresholds from validation; figures on people held back, under shifts, and on normals of another source."""
    known = np.array([picture.pneumonia for picture in division.validation])
    truth, groups = (
        np.array([picture.pneumonia for picture in division.test]),
        [picture.group for picture in division.test],
    )
    chosen = scores(path, views(division.validation, "as delivered", side))
    shifted = {shift: scores(path, views(division.test, shift, side)) for shift in SHIFTS}
    plain, elsewhere = shifted["as delivered"], scores(path, views(foreign, "as delivered", side))
    found: dict[str, Any] = {
        "validation auroc": round(rank_auroc(known, chosen), 4),
        "auroc": rounded(figures.auroc(truth, plain, groups)),
        "auroc of the worst shift": round(min(rank_auroc(truth, each) for each in shifted.values()), 4),
    }
    for recall in RECALLS:
        threshold = figures.threshold_for(known, chosen, recall)
        found[f"recall {recall}"] = {
            "sensitivity": rounded(figures.sensitivity(truth, plain, threshold, groups)),
            "specificity": rounded(figures.specificity(truth, plain, threshold, groups)),
            "foreign normals": rounded(figures.proportion(elsewhere < threshold)),
        }
    return found
