"""From a network's logits to probabilities: two figures fitted on validation rows; numpy only."""

import numpy as np
import numpy.typing as npt


def calibrate(logits: npt.NDArray[np.float64], died: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """(slope, offset) that make sigmoid(slope * logit + offset) the probability, by Newton steps on validation rows.

    The slope is one over a temperature; the offset takes back what the class weights added. The order of the rows is
    kept: a slope that is not positive means that the network has learnt nothing, and is replaced by 1.
    """
    design = np.stack([logits, np.ones_like(logits)], axis=1)
    beta, loss = np.array([1.0, 0.0]), _log_loss(logits, died)
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(design @ beta, -500.0, 500.0)))
        curvature = design.T @ (design * (p * (1 - p))[:, None]) + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, design.T @ (p - died))
        while np.abs(step).max() > 1e-9 and _log_loss(design @ (beta - step), died) > loss:
            step = step / 2
        beta = beta - step
        loss = _log_loss(design @ beta, died)
    slope, offset = (float(value) for value in beta)
    return (slope, offset) if slope > 0 else (1.0, 0.0)


def _log_loss(logits: npt.NDArray[np.float64], died: npt.NDArray[np.bool_]) -> float:
    """Mean negative log likelihood, without overflow."""
    return float(np.mean(np.logaddexp(0.0, logits) - died * logits))
