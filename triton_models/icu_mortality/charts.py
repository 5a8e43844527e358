"""The charts of a run as PNG files: learning curves, confusion matrix, ROC, reliability, distribution of scores."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

matplotlib.use("agg")

Scores = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]
BINS = 10


def write(
    out_dir: Path, histories: Sequence[Sequence[dict[str, float]]], scores: Scores, died: Labels, threshold: float
) -> list[Path]:
    """Draws the five charts of the test rows and of the history of each network; returns the files."""
    figures = {
        "learning_curves": _learning(histories),
        "confusion_matrix": _confusion(scores, died, threshold),
        "roc": _roc(scores, died),
        "reliability": _reliability(scores, died),
        "scores": _distribution(scores, died, threshold),
    }
    written = []
    for name, figure in figures.items():
        path = out_dir / f"{name}.png"
        figure.savefig(path, dpi=100)
        written.append(path)
    return written


def _axes(title: str, x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def _learning(histories: Sequence[Sequence[dict[str, float]]]) -> Figure:
    figure, axes = _axes("Learning curves", "epoch", "loss")
    lines = (("train_loss", "training, without dropout", "tab:blue"), ("val_loss", "validation", "tab:orange"))
    for key, label, colour in lines:
        for place, history in enumerate(histories):
            epochs, losses = [row["epoch"] for row in history], [row[key] for row in history]
            axes.plot(epochs, losses, color=colour, label=label if place == 0 else None)
    axes.legend()
    return figure


def _confusion(scores: Scores, died: Labels, threshold: float) -> Figure:
    called = scores >= threshold
    counts = np.array(
        [[np.sum((died == truth) & (called == call)) for call in (False, True)] for truth in (False, True)]
    )
    figure, axes = _axes(f"Test stays at threshold {threshold:g}", "called", "outcome")
    axes.imshow(counts, cmap="Blues", vmax=2 * counts.max())
    for row, column in np.ndindex(2, 2):
        axes.text(column, row, str(counts[row, column]), ha="center", va="center")
    axes.set_xticks([0, 1], ["survives", "dies"])
    axes.set_yticks([0, 1], ["survived", "died"])
    return figure


def _roc(scores: Scores, died: Labels) -> Figure:
    figure, axes = _axes("ROC, test stays", "1 - specificity", "sensitivity")
    order = np.argsort(-scores, kind="stable")
    hits = np.concatenate([[0], np.cumsum(died[order]) / max(1, died.sum())])
    alarms = np.concatenate([[0], np.cumsum(~died[order]) / max(1, (~died).sum())])
    axes.plot(alarms, hits)
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    return figure


def _reliability(scores: Scores, died: Labels) -> Figure:
    figure, axes = _axes("Reliability, test stays in tenths", "predicted risk", "share who died")
    parts = np.array_split(np.argsort(scores, kind="stable"), BINS)
    parts = [part for part in parts if len(part)]
    axes.plot([scores[part].mean() for part in parts], [died[part].mean() for part in parts], marker="o")
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey")
    return figure


def _distribution(scores: Scores, died: Labels, threshold: float) -> Figure:
    figure, axes = _axes("Predicted risk, test stays", "predicted risk", "stays")
    axes.hist([scores[~died], scores[died]], bins=20, range=(0, 1), stacked=True, label=["survived", "died"])
    axes.axvline(threshold, linestyle=":", color="black")
    axes.legend()
    return figure
