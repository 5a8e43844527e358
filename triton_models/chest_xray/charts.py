"""Draws a run of a model of radiographs as PNG files; no numbers of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def draw(
    folder: Path,
    history: Sequence[Mapping[str, float]],
    truth: Flags,
    by_shift: Mapping[str, Floats],
    threshold: float,
    band: tuple[float, float],
    labels: tuple[str, str] = ("normal", "pneumonia"),
) -> list[Path]:
    """Writes all charts of the held-back part into `folder` and returns their paths."""
    return [
        _learning_curves(folder / "learning_curves.png", history),
        _roc(folder / "roc.png", truth, by_shift),
        _confusion(folder / "confusion.png", truth, by_shift["as delivered"], threshold, labels),
        _scores(folder / "scores.png", truth, by_shift["as delivered"], threshold, band, labels),
    ]


def _page(title: str, x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def _learning_curves(path: Path, history: Sequence[Mapping[str, float]]) -> Path:
    figure, axes = _page("Learning curves", "epoch", "training loss")
    epochs = [int(row["epoch"]) + 1 for row in history]
    axes.plot(epochs, [row["loss"] for row in history], color="tab:blue")
    other = axes.twinx()
    other.set_ylabel("validation AUROC, averaged weights")
    for name in sorted({key for row in history for key in row if key.startswith("auroc, ")}):
        seen = [(epoch, row[name]) for epoch, row in zip(epochs, history, strict=True) if name in row]
        other.plot(*zip(*seen, strict=True), marker=".", label=name.removeprefix("auroc, "))
    other.legend(loc="center right")
    figure.savefig(path, dpi=110)
    return path


def _roc(path: Path, truth: Flags, by_shift: Mapping[str, Floats]) -> Path:
    figure, axes = _page("ROC, held-back people", "1 - specificity", "sensitivity")
    for name, scores in by_shift.items():
        order = np.argsort(-scores, kind="stable")
        hits, alarms = np.cumsum(truth[order]) / truth.sum(), np.cumsum(~truth[order]) / (~truth).sum()
        axes.plot(np.r_[0.0, alarms], np.r_[0.0, hits], label=name, linewidth=2.0 if name == "as delivered" else 0.8)
    axes.set(xlim=(-0.01, 0.5), ylim=(0.5, 1.01))
    axes.legend(loc="lower right", fontsize="small")
    figure.savefig(path, dpi=110)
    return path


def _confusion(path: Path, truth: Flags, scores: Floats, threshold: float, labels: tuple[str, str]) -> Path:
    figure, axes = _page(f"Held-back people, threshold {threshold:.3f}", "answered", "truth")
    said = scores >= threshold
    counts = np.array([[(~truth & ~said).sum(), (~truth & said).sum()], [(truth & ~said).sum(), (truth & said).sum()]])
    axes.imshow(counts / counts.sum(axis=1, keepdims=True), cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks([0, 1], labels)
    axes.set_yticks([0, 1], labels)
    for row in range(2):
        for column in range(2):
            dark = counts[row, column] > counts[row].sum() / 2
            axes.text(column, row, int(counts[row, column]), ha="center", color="white" if dark else "black")
    figure.savefig(path, dpi=110)
    return path


def _scores(
    path: Path,
    truth: Flags,
    scores: Floats,
    threshold: float,
    band: tuple[float, float],
    labels: tuple[str, str],
) -> Path:
    figure, axes = _page("Scores of held-back people", f"probability of {labels[1]}", "images")
    axes.hist([scores[~truth], scores[truth]], bins=np.linspace(0, 1, 41), label=list(labels))
    axes.axvspan(*band, alpha=0.2, color="grey", label="abstained")
    axes.axvline(threshold, color="black", linestyle="--", label="threshold")
    axes.set_yscale("log")
    axes.legend()
    figure.savefig(path, dpi=110)
    return path
