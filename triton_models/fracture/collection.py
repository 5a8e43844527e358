"""The fracture collection on disk: its index, its boxes, and the split that keeps groups apart; no torch."""

import csv
import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.errors import UserError

Part = Literal["train", "validation", "test"]
Grey = npt.NDArray[np.uint8]
INDEX, BOXES = "fracture.csv", "fracture_boxes.csv"
TEST_SHARE, VALIDATION_SHARE = 0.20, 0.15


@dataclass(frozen=True, slots=True)
class Box:
    """Where a fracture is, in shares of the image's width and height: centre and size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Picture:
    """One row of the index with its boxes. `group` is kept in one part; `hardware` is metal in the bone."""

    path: Path
    fractured: bool
    group: str
    hardware: bool
    boxes: tuple[Box, ...]


def read_index(data_dir: Path) -> list[Picture]:
    """All rows of `fracture.csv` in file order; a `UserError` says what is missing."""
    for name in (INDEX, BOXES):
        if not (data_dir / name).is_file():
            raise UserError(f"{name} is missing: point --data at the folder that holds {INDEX}, {BOXES} and the images")
    with (data_dir / INDEX).open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    boxes = _boxes(data_dir / BOXES, rows)
    return [
        Picture(
            path=data_dir / row["path"],
            fractured=row["label"] != "normal",
            group=row["group"],
            hardware=row["hardware"] == "1",
            boxes=tuple(boxes[Path(row["path"]).name]),
        )
        for row in rows
    ]


def _boxes(path: Path, rows: Sequence[dict[str, str]]) -> dict[str, list[Box]]:
    """Boxes by file name; the file counts pixels of the original, which the images here are smaller copies of."""
    sizes = {
        Path(row["path"]).name: (float(row["original_width_px"]), float(row["original_height_px"])) for row in rows
    }
    found: dict[str, list[Box]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            if row["image_id"] not in sizes:
                continue
            columns, height_px = sizes[row["image_id"]]
            width, height = float(row["width_px"]) / columns, float(row["height_px"]) / height_px
            x, y = float(row["x_px"]) / columns, float(row["y_px"]) / height_px
            found[row["image_id"]].append(Box(x + width / 2, y + height / 2, width, height))
    return found


def grey(picture: Picture) -> Grey:
    """The picture as display greys at its own size."""
    with Image.open(picture.path) as opened:
        return np.asarray(opened.convert("L"))


def part_of(group: str, seed: int) -> Part:
    """65 % train, 15 % validation, 20 % test, decided by a hash of the group alone, so new data moves nobody."""
    place = int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8]) / 2**64
    if place < TEST_SHARE:
        return "test"
    return "validation" if place < TEST_SHARE + VALIDATION_SHARE else "train"


@dataclass(frozen=True, slots=True)
class Division:
    """The pictures in three parts that share no group, and the hash of all their bytes."""

    train: Sequence[Picture]
    validation: Sequence[Picture]
    test: Sequence[Picture]
    data_hash: str

    @property
    def development(self) -> Sequence[Picture]:
        """Everything that is not held back."""
        return [*self.train, *self.validation]

    def sizes(self) -> dict[str, int]:
        """Rows by part and class, and groups by part."""
        found = {}
        for name in ("train", "validation", "test"):
            part: Sequence[Picture] = getattr(self, name)
            found[f"{name}, normal"] = sum(not picture.fractured for picture in part)
            found[f"{name}, fracture"] = sum(picture.fractured for picture in part)
            found[f"{name}, groups"] = len({picture.group for picture in part})
        return found


def divide(data_dir: Path, seed: int, few: int | None = None) -> Division:
    """Splits the pictures, groups kept together; `few` limits each class of each part, to rehearse.

    Refuses with a `UserError` when an image is missing or a part lacks a class.
    """
    parts: dict[Part, list[Picture]] = {"train": [], "validation": [], "test": []}
    for picture in read_index(data_dir):
        part = parts[part_of(picture.group, seed)]
        if few is None or sum(other.fractured is picture.fractured for other in part) < few:
            part.append(picture)
    kept = [picture for part in parts.values() for picture in part]
    missing = next((picture.path.name for picture in kept if not picture.path.is_file()), None)
    if missing:
        raise UserError(f"{missing} is listed in {INDEX} but is not there")
    for name, part in parts.items():
        if {picture.fractured for picture in part} != {False, True}:
            raise UserError(f"the {name} part of {len(part)} images lacks a class: more images are needed")
    return Division(parts["train"], parts["validation"], parts["test"], hash_of(kept))


def hash_of(pictures: Sequence[Picture]) -> str:
    """sha256 over the file bytes of all pictures, in order: two runs with equal hashes saw equal data."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(picture.path.read_bytes())
    return digest.hexdigest()
