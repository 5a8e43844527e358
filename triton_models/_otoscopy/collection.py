"""The otoscope collection on disk: its index, which photographs belong together, and the split; no torch.

Both stages read it here, so what is held back from one is held back from the other.
"""

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from schemas.errors import UserError
from triton_models._otoscopy import twins
from triton_models._otoscopy.view import Colour

FOLDS = 4
TEST_SHARE = 0.18
INDEX = "otoscope.csv"
NORMAL = "normal"
PATHOLOGIES = ("chronic_otitis_media", "earwax_plug", "myringosclerosis")
KINDS = (NORMAL, *PATHOLOGIES)
ROLES = {"otoscope_viscaino": "base", "reviewed": "fine-tuning"}
"""What each source may be used for, by the first folder of a path; another source must declare its role here first."""
TRAINABLE = frozenset({"base", "fine-tuning"})
SPLIT = "otoscope-4"
"""Named in each group's hash: chosen among eight for an even test part (counted, never scored), before any training."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One distinct photograph. `group` is kept in one part; `digest` is the sha256 of the file."""

    path: Path
    kind: str
    source: str
    group: str
    digest: str


@dataclass(frozen=True, slots=True)
class Division:
    """The photographs held back from everything, and the folds of the others; no two of these parts share a group.

    A model is trained once for each fold, on the other folds: its answers on its own fold choose, the held-back part
    measures. `data_hash` is over the bytes of all photographs.
    """

    folds: Sequence[Sequence[Picture]]
    test: Sequence[Picture]
    data_hash: str

    def without(self, fold: int) -> list[Picture]:
        """What the member of this fold may be trained on."""
        return [picture for number, part in enumerate(self.folds) if number != fold for picture in part]

    def pooled(self) -> list[Picture]:
        """The photographs of all folds, fold by fold."""
        return [picture for part in self.folds for picture in part]

    def sizes(self) -> dict[str, int]:
        """Photographs and groups by part and class."""
        found = {}
        for name, part in _named(self.folds, self.test).items():
            for kind in KINDS:
                chosen = [picture for picture in part if picture.kind == kind]
                if chosen:
                    found[f"{name}, {kind}"] = len(chosen)
                    found[f"{name}, {kind}, groups"] = len({picture.group for picture in chosen})
        return found

    def only(self, kinds: Sequence[str]) -> "Division":
        """The same division without the photographs of other kinds."""
        kept = [[picture for picture in part if picture.kind in kinds] for part in (*self.folds, self.test)]
        return Division(kept[:-1], kept[-1], self.data_hash)


def read_index(data_dir: Path) -> list[Picture]:
    """The distinct photographs of `otoscope.csv`, grouped; a `UserError` says what is missing or not allowed.

    A file that is listed twice under different clusters was overwritten by another of its name: its rows are one
    photograph and its clusters are not believed. Equal files under several names count once.
    """
    index = data_dir / INDEX
    if not index.is_file():
        raise UserError(f"{index} is missing: point --data at the folder that holds {INDEX} and the photographs")
    with index.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    clusters: dict[str, set[str]] = {}
    kinds: dict[str, str] = {}
    for row in rows:
        if row["label"] not in KINDS:
            raise UserError(f"{INDEX}: {row['path']} has the unknown label {row['label']}; known: {', '.join(KINDS)}")
        clusters.setdefault(row["path"], set()).add(row.get("near_dup_cluster") or row["path"])
        if kinds.setdefault(row["path"], row["label"]) != row["label"]:
            raise UserError(f"{INDEX} gives {row['path']} two labels")
    sources = {name: Path(name).parts[0] for name in kinds}
    _declared(set(sources.values()))
    paths = {name: data_dir / name for name in kinds}
    missing = next((name for name, path in paths.items() if not path.is_file()), None)
    if missing:
        raise UserError(f"{missing} is listed in {INDEX} but is not there")
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in paths.items()}
    names = list(kinds)
    believed = [next(iter(clusters[name])) if len(clusters[name]) == 1 else "" for name in names]
    groups = twins.groups(believed, [digests[name] for name in names], twins.thumbnails(colours(paths.values())))
    found: dict[str, Picture] = {}
    for name, group in zip(names, groups, strict=True):
        one = Picture(paths[name], kinds[name], sources[name], f"{kinds[name]}:{group}", digests[name])
        first = found.setdefault(one.digest, one)
        if first.kind != one.kind:
            raise UserError(f"{first.path.name} and {one.path.name} are one photograph with two labels")
    return list(found.values())


def _declared(sources: set[str]) -> None:
    for source in sorted(sources):
        if ROLES.get(source) not in TRAINABLE:
            raise UserError(
                f"The source {source} has no declared role that allows training (declared: {ROLES}); "
                "an external source must never be trained on"
            )


def colours(paths: Iterable[Path]) -> Iterator[Colour]:
    """Each photograph as sRGB at its own size."""
    for path in paths:
        with Image.open(path) as opened:
            yield np.asarray(opened.convert("RGB"))


def part_of(group: str) -> int:
    """The fold of a group, or -1 for the 18 % held back, by a hash of the group alone.

    No seed, no stage and no new data moves a group.
    """
    digest = hashlib.sha256(f"{SPLIT}:{group}".encode()).digest()
    if int.from_bytes(digest[:8]) / 2**64 < TEST_SHARE:
        return -1
    return int.from_bytes(digest[8:12]) % FOLDS


def divide(data_dir: Path, few: int | None = None) -> Division:
    """Splits the collection, groups kept together, and refuses what is contaminated or lacks a class in a part.

    `few` keeps that many groups of each class in each part, to rehearse with.
    """
    parts: dict[int, list[Picture]] = {place: [] for place in (*range(FOLDS), -1)}
    for picture in read_index(data_dir):
        parts[part_of(picture.group)].append(picture)
    if few is not None:
        parts = {place: _few(part, few) for place, part in parts.items()}
    test = parts.pop(-1)
    named = _named(list(parts.values()), test)
    for name, part in named.items():
        lacking = [kind for kind in KINDS if not any(picture.kind == kind for picture in part)]
        if lacking:
            raise UserError(f"the {name} part of {len(part)} photographs lacks {', '.join(lacking)}: more are needed")
    check_isolation(named)
    digests = [picture.digest for part in named.values() for picture in part]
    return Division(list(parts.values()), test, hashlib.sha256("".join(digests).encode()).hexdigest())


def _named(folds: Sequence[Sequence[Picture]], test: Sequence[Picture]) -> dict[str, Sequence[Picture]]:
    return {**{f"fold {number}": part for number, part in enumerate(folds)}, "test": test}


def check_isolation(parts: Mapping[str, Sequence[Picture]]) -> None:
    """Stops (UserError) before any training where two parts share a group, a file or a near-equal photograph."""
    everything = [picture for part in parts.values() for picture in part]
    thumbs = twins.thumbnails(colours(picture.path for picture in everything))
    ends = np.cumsum([len(part) for part in parts.values()])[:-1]
    twins.refuse_contamination(
        {name: [picture.group for picture in part] for name, part in parts.items()},
        {name: [picture.digest for picture in part] for name, part in parts.items()},
        dict(zip(parts, np.split(thumbs, ends), strict=True)),
    )


def _few(pictures: Sequence[Picture], few: int) -> list[Picture]:
    chosen: set[str] = set()
    for kind in KINDS:
        chosen |= set(list(dict.fromkeys(picture.group for picture in pictures if picture.kind == kind))[:few])
    return [picture for picture in pictures if picture.group in chosen]
