"""Turns raw scores into probabilities that can be believed, and says how far they can; no model, no files."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def raw_logits(probabilities: Floats) -> Floats:
    """The logits behind probabilities, within float32's reach of 0 and 1."""
    inside = np.clip(probabilities, 1e-7, 1 - 1e-7)
    return np.log(inside / (1 - inside))


def platt(logits: Floats, truth: Flags) -> tuple[float, float]:
    """(temperature, bias): Platt's two numbers (1999) by Newton's method on the smoothed log loss.

    Both classes weigh the same, so that 0.5 is the point of indifference however common the condition is.
    """
    ill, well = int(truth.sum()), int((~truth).sum())
    target = np.where(truth, (ill + 1) / (ill + 2), 1 / (well + 2))
    weight = np.where(truth, 0.5 / ill, 0.5 / well)
    design = np.stack([logits, np.ones_like(logits)], axis=1)
    design[:, 0] /= max(float(np.std(logits)), 1e-9)  # of one scale, so that Newton's first step is a sensible one

    def cost(at: Floats) -> float:
        shown = design @ at
        return float((weight * (np.logaddexp(0.0, shown) - target * shown)).sum())

    factors = np.array([1.0, 0.0])
    for _ in range(100):
        shown = 1 / (1 + np.exp(-np.clip(design @ factors, -60, 60)))
        slope = design.T @ (weight * (shown - target))
        bend = (design * (weight * shown * (1 - shown))[:, None]).T @ design + 1e-9 * np.eye(2)
        step, share = np.linalg.solve(bend, slope), 1.0
        while cost(factors - share * step) > cost(factors) and share > 1e-6:
            share /= 2
        factors = factors - share * step
        if float(np.abs(share * step).max()) < 1e-9:
            break
    factors[0] /= max(float(np.std(logits)), 1e-9)
    scale = max(float(factors[0]), 0.05)
    return 1.0 / scale, float(factors[1])


def calibration_error(truth: Flags, scores: Floats, bins: int = 10) -> float:
    """Expected calibration error: mean gap of stated and observed share over equal-width bins, by rows."""
    place = np.minimum((scores * bins).astype(int), bins - 1)
    gaps = [abs(float((scores[place == b] - truth[place == b]).sum())) for b in range(bins)]
    return sum(gaps) / len(scores)


def softmax_temperature(logits: Floats, truth: npt.NDArray[np.int64]) -> float:
    """The temperature (0.2 to 10) by which `logits` [n, classes] fit `truth` best, every class weighing the same."""
    weight = 1.0 / np.bincount(truth, minlength=logits.shape[1]).clip(1)[truth]

    def cost(temperature: float) -> float:
        shown = logits / temperature
        peak = shown.max(axis=1, keepdims=True)
        rows = shown - peak - np.log(np.exp(shown - peak).sum(axis=1, keepdims=True))
        return float(-(weight * rows[np.arange(len(truth)), truth]).sum())

    grid = np.exp(np.linspace(np.log(0.2), np.log(10.0), 200))
    return float(min(grid, key=cost))
