"""What a measurement says: figures with their spread, ratios against a baseline of the same run, and the machine."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
import psutil


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of the repeats, and the distance from the smallest to the largest of them, in `unit`."""

    value: float
    unit: str
    spread: float


@dataclass(frozen=True, slots=True)
class Report:
    """One bench: ratios without unit, figures by what they measure, and notes of which some benches have none.

    `rows`, where there are some, are what a person is shown in place of the figures: cells by the name of their column.
    """

    name: str
    ratios: Mapping[str, float]
    figures: Mapping[str, Figure]
    machine: Mapping[str, Any] = field(default_factory=lambda: machine())
    notes: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Mapping[str, str]] = ()

    def to_json(self) -> dict[str, Any]:
        """`{"name", "ratios", "figures": {what: {"value", "unit", "spread"}}, "machine"}`, and `"notes"` if any."""
        return {
            "name": self.name,
            "ratios": {what: round(value, 4) for what, value in self.ratios.items()},
            "figures": {
                what: {"value": round(f.value, 4), "unit": f.unit, "spread": round(f.spread, 4)}
                for what, f in self.figures.items()
            },
            "machine": dict(self.machine),
            **({"notes": dict(self.notes)} if self.notes else {}),
        }


def figure(values: Sequence[float], unit: str) -> Figure:
    """The figure of repeated measurements, at least one."""
    return Figure(median(values), unit, max(values) - min(values))


def ratio(ours: Sequence[float], baseline: Sequence[float]) -> float:
    """The median of the ratios of the repeats: ours and its baseline ran next to each other, so drift cancels."""
    return median(mine / other for mine, other in zip(ours, baseline, strict=True))


def p95(values: Sequence[float]) -> float:
    """The 95th percentile, interpolated."""
    return float(np.percentile(values, 95))


def machine() -> dict[str, Any]:
    """Where it was measured; `load_1min` above the number of cores says that others were working there too."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_1min": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
