"""Draws a run of either otoscope model as PNG files; no numbers of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def learning_curves(path: Path, history: Sequence[Mapping[str, float]], metric: str) -> None:
    """Training loss (dotted) and the clinical metric on the fold that a member has not seen, by epoch."""
    figure, axes = _page("Learning curves", "epoch", "training loss")
    other = axes.twinx()
    other.set_ylabel(f"{metric} on its own fold, averaged weights")
    for number, member in enumerate(sorted({row["member"] for row in history})):
        rows = [row for row in history if row["member"] == member]
        epochs = [int(row["epoch"]) + 1 for row in rows]
        axes.plot(epochs, [row["loss"] for row in rows], color=f"C{number}", linestyle=":")
        other.plot(epochs, [row["judged"] for row in rows], color=f"C{number}", label=f"member {number + 1}")
    other.legend(loc="center right", fontsize="small")
    figure.savefig(path, dpi=110)


def roc(path: Path, title: str, curves: Mapping[str, tuple[Flags, Floats]]) -> None:
    """One ROC curve for each name of (truth, scores)."""
    figure, axes = _page(title, "1 - specificity", "sensitivity")
    for name, (truth, scores) in curves.items():
        order = np.argsort(-scores, kind="stable")
        hits, alarms = np.cumsum(truth[order]) / truth.sum(), np.cumsum(~truth[order]) / (~truth).sum()
        axes.plot(np.r_[0.0, alarms], np.r_[0.0, hits], label=name, linewidth=2.0 if name == "as delivered" else 0.8)
    axes.legend(loc="lower right", fontsize="small")
    figure.savefig(path, dpi=110)


def confusion(path: Path, title: str, labels: Sequence[str], counts: Sequence[Sequence[int]]) -> None:
    """Counts by truth (rows) and answer (columns), shaded by the share of the row."""
    figure, axes = _page(title, "answered", "truth")
    shown = np.asarray(counts)
    axes.imshow(shown / shown.sum(axis=1, keepdims=True).clip(1), cmap="Blues", vmin=0, vmax=1)
    names = [label.replace("_", " ") for label in labels]
    axes.set_xticks(range(len(names)), names, fontsize="small")
    axes.set_yticks(range(len(names)), names, fontsize="small")
    for row in range(len(names)):
        for column in range(len(names)):
            dark = shown[row, column] > shown[row].sum() / 2
            axes.text(column, row, int(shown[row, column]), ha="center", color="white" if dark else "black")
    figure.savefig(path, dpi=110)


def scores(
    path: Path, title: str, shown: Mapping[str, Floats], band: tuple[float, float], threshold: float | None = None
) -> None:
    """How the probabilities of each named set are distributed, with the abstention band."""
    figure, axes = _page(title, "probability", "photographs")
    axes.hist(list(shown.values()), bins=np.linspace(0, 1, 26).tolist(), label=list(shown), stacked=True)
    axes.axvspan(*band, alpha=0.2, color="grey", label="abstained")
    if threshold is not None:
        axes.axvline(threshold, color="black", linestyle="--", label="threshold")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def _page(title: str, x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes
