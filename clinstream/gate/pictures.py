"""The labelled pictures that the gate is fitted on and measured with, and which of them are held back."""

import csv
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.errors import UserError

Grey = npt.NDArray[np.uint8]
Part = Literal["train", "validation", "test"]
SEED: Final = 20261120
"""That of `chest_xray`, and the same rule: whoever is held back there is held back here."""
SHIPPABLE: Final = ("kermany", "kiran_jabeen")
"""Sources of chests whose licence lets weights ship; the others are never fitted on."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a data set; `source` names where it comes from."""

    path: Path
    source: str
    part: Part

    def greys(self) -> Grey:
        """Its greys, uint8."""
        with Image.open(self.path) as opened:
            return np.asarray(opened.convert("L"))


def chests(data: Path) -> list[Picture]:
    """All chest radiographs of `chest.csv`; people are kept in one part."""
    return [
        _picture(data, row, row["source"], f"{row['source']}:{row['patient'] or row['path']}")
        for row in _rows(data, "chest.csv")
    ]


def limbs(data: Path) -> list[Picture]:
    """Radiographs of upper limbs, for which a model of the chest is not meant."""
    return [_picture(data, row, "fracatlas", f"f{row['group']}") for row in _rows(data, "fracture.csv")]


def photographs(data: Path) -> list[Picture]:
    """Photographs of eardrums."""
    return [_picture(data, row, "viscaino", f"o{row['near_dup_cluster']}") for row in _rows(data, "otoscope.csv")]


def part_of(group: str) -> Part:
    """70 % train, 15 % validation, 15 % test, by a hash of the group alone."""
    place = int.from_bytes(hashlib.sha256(f"{SEED}:{group}".encode()).digest()[:8]) / 2**64
    return "test" if place < 0.15 else "validation" if place < 0.30 else "train"


def _picture(data: Path, row: dict[str, str], source: str, group: str) -> Picture:
    return Picture(data / row["path"], source, part_of(group))


def _rows(data: Path, name: str) -> Iterator[dict[str, str]]:
    if not (data / name).is_file():
        raise UserError(
            f"{data / name} is missing: --data names the folder with chest.csv, fracture.csv, otoscope.csv."
        )
    with (data / name).open(newline="", encoding="utf-8") as lines:
        yield from csv.DictReader(lines)
