"""Breaks drawn into bones that have none, for a network to learn edges by before it sees enough fractures; no torch.

A break is a slip of one side of a short, uneven line against the other, with a gap between; it fades with distance.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

BLOCK = 8
BUSIEST = 0.2
"""Share of the blocks, the brightest and of strongest contrast, in which a break may lie: bones more than skin."""
LEAST_CHANGE = 1.5
"""Grey levels, on average near the line, below which nothing can be seen of a break."""


@dataclass(frozen=True, slots=True)
class Line:
    """Where a break runs, in pixels: its middle, direction (radians), reach, and how uneven it is."""

    x: float
    y: float
    angle: float
    reach: float
    wave: float

    def box(self) -> tuple[float, float, float, float]:
        """The box that somebody might draw around it: centre x, centre y, width, height."""
        cos, sin = abs(np.cos(self.angle)), abs(np.sin(self.angle))
        wide, tall = 1.3 * cos + 0.6 * sin, 1.3 * sin + 0.6 * cos
        return self.x, self.y, 2 * self.reach * wide, 2 * self.reach * tall


def broken(image: Grey, rng: np.random.Generator) -> tuple[Grey, tuple[float, float, float, float]] | None:
    """A copy with one break and the box around it; None where it would not be seen."""
    x, y = _busy_place(image, rng)
    reach = float(rng.uniform(6.0, 14.0))
    line = Line(x, y, float(rng.uniform(0.0, np.pi)), reach, float(rng.uniform(0.0, 2.0)))
    half = int(2.2 * reach) + 4
    top, left = max(0, int(y) - half), max(0, int(x) - half)
    part = image[top : int(y) + half, left : int(x) + half].astype(np.float64)
    slip, depth = float(rng.uniform(0.5, 3.5) * rng.choice([-1.0, 1.0])), float(rng.uniform(0.1, 0.6))
    made, near = _slipped(part, line, (left, top), slip, depth, float(rng.uniform(0.5, 1.3)))
    if np.abs(made - part)[near > 0.5].mean() < LEAST_CHANGE:
        return None
    changed = image.copy()
    changed[top : int(y) + half, left : int(x) + half] = np.rint(np.clip(made, 0, 255))
    return changed, line.box()


def _busy_place(image: Grey, rng: np.random.Generator) -> tuple[float, float]:
    rows, columns = image.shape[0] // BLOCK, image.shape[1] // BLOCK
    blocks = image[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK).astype(np.float64)
    bright = blocks.mean(axis=(1, 3)) - np.percentile(image, 20)
    contrast = (blocks.std(axis=(1, 3)) * np.clip(bright, 0.0, 80.0))[1:-1, 1:-1]
    allowed = np.argsort(contrast, axis=None)[-max(1, int(BUSIEST * contrast.size)) :]
    row, column = np.unravel_index(int(rng.choice(allowed)), contrast.shape)
    return (float(column) + 1 + rng.random()) * BLOCK, (float(row) + 1 + rng.random()) * BLOCK


def _slipped(
    part: Floats, line: Line, corner: tuple[int, int], slip: float, depth: float, gap: float
) -> tuple[Floats, Floats]:
    """`part` with the break in it, and how near each pixel is (0-1). `corner` is where the part lies in the image."""
    y, x = np.mgrid[0 : part.shape[0], 0 : part.shape[1]].astype(np.float64)
    right, down = x + corner[0] - line.x, y + corner[1] - line.y
    cos, sin = np.cos(line.angle), np.sin(line.angle)
    along, across = right * cos + down * sin, down * cos - right * sin
    across = across + line.wave * np.sin(along / 3.0)
    near = np.exp(-(right**2 + down**2) / (2 * line.reach**2))
    moved = slip / 2 * np.tanh(across / 0.5) * near
    made = _between(part, y - moved * sin, x - moved * cos)
    ground = float(np.percentile(part, 10))
    return made - depth * (made - ground) * np.exp(-((across / gap) ** 2)) * near, near


def _between(part: Floats, y: Floats, x: Floats) -> Floats:
    """The greys at places between pixels, linear; outside is the nearest pixel."""
    y, x = np.clip(y, 0, part.shape[0] - 1.001), np.clip(x, 0, part.shape[1] - 1.001)
    top, left = y.astype(int), x.astype(int)
    down, right = y - top, x - left
    above = part[top, left] * (1 - right) + part[top, left + 1] * right
    below = part[top + 1, left] * (1 - right) + part[top + 1, left + 1] * right
    found: Floats = above * (1 - down) + below * down
    return found
