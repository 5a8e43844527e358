"""What a training run hands back, for every model; no training and no files but its own record."""

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A finished run: where its ONNX lies, what was measured on it, and what a rerun needs to give the same again.

    `metrics` are plain numbers to track by name; `figures` are (value, low, high) of 95 % intervals by name, measured
    on the exported ONNX; `split_sizes` counts rows by part and class; `data_hash` is over the bytes of all rows used.
    `missed` says for each criterion that was not reached what to try next.
    """

    name: str
    version: str
    onnx: Path
    seed: int
    quick: bool
    metrics: Mapping[str, float]
    figures: Mapping[str, tuple[float, float, float]]
    split_sizes: Mapping[str, int]
    recipe: Mapping[str, Any]
    hardware: Mapping[str, str]
    dependencies: Mapping[str, str]
    data_hash: str
    missed: Sequence[str] = ()

    def write_metadata(self, path: Path) -> None:
        """Writes everything as JSON; the ONNX by file name, so that the folder can move."""
        record = asdict(self) | {"onnx": self.onnx.name}
        path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def machine() -> dict[str, str]:
    """The processor, system and Python of this run: figures move with them in the third digit."""
    return {"processor": _processor(), "system": platform.platform(), "python": platform.python_version()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
