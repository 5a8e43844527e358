"""A snapshot of what a run learns from: base data and corrections, frozen under the hash of its content."""

import hashlib
import importlib
import importlib.util
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapters.database import Correction
from schemas.card import ModelCard
from schemas.errors import UserError

MANIFEST = "manifest.json"
Observed = Mapping[str, float | None]


def writer_of(task: str) -> Callable[[Path, Sequence[tuple[Any, str]]], int]:
    """The function of a model's folder that writes corrections; raises UserError where there is none."""
    name = f"triton_models.{task}.corrections"
    if importlib.util.find_spec(name) is None:
        raise UserError(f"{task} has no corrections.py yet: it cannot be retrained from corrections.")
    found: Callable[[Path, Sequence[tuple[Any, str]]], int] = importlib.import_module(name).write
    return found


def label_of(correction: Correction, card: ModelCard) -> str:
    """What the truth is by a correction; empty where a rejection leaves more than one label open."""
    if correction.label:
        return correction.label
    others = [label for label in card.labels if label != correction.answered]
    return others[0] if len(others) == 1 else ""


def take(base: Path, card: ModelCard, rows: Sequence[tuple[Observed, str]], into: Path) -> str:
    """Freezes base data and corrections under `into/<id>` and returns the id.

    The id is the SHA-256 of the manifest, which names every file with its own; the same data is the same snapshot, and
    a snapshot that is there already is not written again. Raises UserError when there is no base data.
    """
    if not base.is_dir():
        raise UserError(f"There is no base data of {card.name} at {base}; set CLINSTREAM_TRAINING_DATA.")
    part = into / f".part-{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for path in sorted(path for path in base.rglob("*") if path.is_file()):
        target = part / path.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    corrected = writer_of(card.name)(part, rows)
    manifest = {
        "task": card.name,
        "corrections": corrected,
        "files": {
            str(path.relative_to(part)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(part.rglob("*"))
            if path.is_file()
        },
    }
    text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
    name = hashlib.sha256(text.encode()).hexdigest()
    (part / MANIFEST).write_text(text, encoding="utf-8")
    if (into / name).exists():
        shutil.rmtree(part)
    else:
        part.rename(into / name)
    return name
