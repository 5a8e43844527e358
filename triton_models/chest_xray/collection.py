"""The chest collection on disk: its index, who belongs to whom, and the split that keeps people apart; no torch."""

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.errors import UserError

Part = Literal["train", "validation", "test"]
INDEX = "chest.csv"
TRAINABLE = "kermany"
TWIN_SIDE = 28
TWIN_CORRELATION = 0.98


@dataclass(frozen=True, slots=True)
class Picture:
    """One row of the index. `group` is kept in one part: the person, joined with everyone who shares a twin image."""

    path: Path
    pneumonia: bool
    subtype: str
    source: str
    label: str
    group: str


def read_index(data_dir: Path) -> list[Picture]:
    """All rows of `chest.csv` in file order; a `UserError` says what is missing."""
    index = data_dir / INDEX
    if not index.is_file():
        raise UserError(f"{index} is missing: point --data at the folder that holds {INDEX} and the chest images")
    with index.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return [
        Picture(
            path=data_dir / row["path"],
            pneumonia=row["label"] == "pneumonia",
            subtype=row["subtype"],
            source=row["source"],
            label=row["label"],
            group=row["source"] + ":" + (row["patient"] or row["path"]),
        )
        for row in rows
    ]


def load(pictures: Sequence[Picture], side: int) -> npt.NDArray[np.uint8]:
    """The pictures as grey uint8 [n, side, side], resized with an anti-aliased linear filter."""
    loaded = np.empty((len(pictures), side, side), dtype=np.uint8)
    for place, picture in enumerate(pictures):
        with Image.open(picture.path) as opened:
            grey = opened.convert("L")
            loaded[place] = np.asarray(grey.resize((side, side), Image.Resampling.BILINEAR))
    return loaded


def hash_of(pictures: Sequence[Picture]) -> str:
    """sha256 over the file bytes of all pictures, in order: two runs with equal hashes saw equal data."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(picture.path.read_bytes())
    return digest.hexdigest()


def join_twins(groups: Sequence[str], images: npt.NDArray[np.uint8]) -> list[str]:
    """`groups` with those merged that share near-identical images (correlation of 28-pixel thumbnails > 0.98).

    In this collection 33 pairs correlate above 0.985, each within one person, so the merge is a guard for other data.
    """
    thumbnails = np.stack(
        [np.asarray(Image.fromarray(image).resize((TWIN_SIDE, TWIN_SIDE), Image.Resampling.BOX)) for image in images]
    )
    flat = thumbnails.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    for first, second in _twins(flat):
        one, other = sorted((root(groups[first]), root(groups[second])))
        parent[other] = one
    return [root(group) for group in groups]


def _twins(flat: npt.NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    for start in range(0, len(flat), 1024):
        first, second = np.nonzero(flat[start : start + 1024] @ flat.T > TWIN_CORRELATION)
        for row, column in zip(first.tolist(), second.tolist(), strict=True):
            if start + row < column:
                yield start + row, column


def part_of(group: str, seed: int) -> Part:
    """70 % train, 15 % validation, 15 % test, decided by a hash of the group alone, so new data moves nobody."""
    place = int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8]) / 2**64
    return "test" if place < 0.15 else "validation" if place < 0.30 else "train"


def greys(pictures: Sequence[Picture]) -> Iterator[npt.NDArray[np.uint8]]:
    """Each picture as display greys at its own size."""
    for picture in pictures:
        with Image.open(picture.path) as opened:
            yield np.asarray(opened.convert("L"))


@dataclass(frozen=True, slots=True)
class Division:
    """The trainable pictures in three parts that share no person, and the hash of all their bytes."""

    train: Sequence[Picture]
    validation: Sequence[Picture]
    test: Sequence[Picture]
    data_hash: str

    def sizes(self) -> dict[str, int]:
        """Rows by part and class, and people by part."""
        found = {}
        for name in ("train", "validation", "test"):
            part: Sequence[Picture] = getattr(self, name)
            for kind in ("normal", "bacteria", "virus"):
                found[f"{name}, {kind}"] = sum(picture.subtype == kind for picture in part)
            found[f"{name}, people"] = len({picture.group for picture in part})
        return found


def divide(data_dir: Path, seed: int, people: int | None = None) -> Division:
    """Splits the pictures that may be trained on, people and twins kept together; `people` limits each class.

    Refuses with a `UserError` when a part lacks a class.
    """
    pictures = [picture for picture in read_index(data_dir) if picture.source == TRAINABLE]
    if people is not None:
        pictures = _few(pictures, people)
    missing = next((picture.path.name for picture in pictures if not picture.path.is_file()), None)
    if missing:
        raise UserError(f"{missing} is listed in {INDEX} but is not there")
    groups = join_twins([picture.group for picture in pictures], load(pictures, 224)) if pictures else []
    parts: dict[Part, list[Picture]] = {"train": [], "validation": [], "test": []}
    for picture, group in zip(pictures, groups, strict=True):
        parts[part_of(group, seed)].append(replace(picture, group=group))
    for name, part in parts.items():
        if {picture.pneumonia for picture in part} != {False, True}:
            raise UserError(f"the {name} part of {len(part)} images lacks a class: more people are needed")
    return Division(parts["train"], parts["validation"], parts["test"], hash_of(pictures))


def _few(pictures: Sequence[Picture], people: int) -> list[Picture]:
    """All pictures of the first `people` groups of each class, so that a rehearsal sees both."""
    chosen: set[str] = set()
    for kind in (False, True):
        chosen |= set(list(dict.fromkeys(picture.group for picture in pictures if picture.pneumonia is kind))[:people])
    return [picture for picture in pictures if picture.group in chosen]
