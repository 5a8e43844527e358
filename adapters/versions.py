"""A trained version as the card that it is served by, and its weights brought from the object store to a file."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from adapters.database import Version
from adapters.pixels import BlobStore
from adapters.repository import Entry
from schemas import ids
from schemas.card import ModelCard, OperatingPoint
from schemas.errors import MissingObject


def card_of(card: ModelCard, version: Version) -> ModelCard:
    """The card of a task as it holds for a trained version: its number, operating point and abstention band."""
    return replace(
        card,
        version=version.version,
        preprocessing_version=version.preprocessing_version,
        operating_point=point_of(version),
        abstention_band=version.abstention_band,
    )


def point_of(version: Version) -> OperatingPoint | None:
    """The operating point of a trained version; None where the task has none."""
    stored = version.operating_point
    if stored is None:
        return None
    sensitivity, specificity = (tuple(float(x) for x in stored[name]) for name in ("sensitivity", "specificity"))
    return OperatingPoint(
        threshold=float(stored["threshold"]),
        sensitivity=(sensitivity[0], sensitivity[1], sensitivity[2]),
        specificity=(specificity[0], specificity[1], specificity[2]),
        measured_on=str(stored["measured_on"]),
    )


async def fetch(store: BlobStore, version: Version, folder: Path) -> Path:
    """The weights of a version as `folder/<task>-<version>.onnx`, fetched unless they are there and right.

    Raises MissingObject when the store does not hold them or holds something else, StoreUnavailable when it is away.
    """
    path = folder / f"{version.task}-{version.version}.onnx"
    if await asyncio.to_thread(_holds, path, version.weights_sha256):
        return path
    data = await store.get(version.weights_uri)
    if ids.sha256_hex(data) != version.weights_sha256:
        raise MissingObject(f"the stored weights of {version.task} {version.version} do not match their checksum")
    await asyncio.to_thread(_keep, path, data)
    return path


def _holds(path: Path, sha256: str) -> bool:
    return path.is_file() and ids.sha256_hex(path.read_bytes()) == sha256


def _keep(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.replace(path)


async def entries(
    cards: Iterable[tuple[ModelCard, Path]],
    versions: Sequence[Version],
    wanted: Iterable[tuple[str, str]],
    store: BlobStore,
    folder: Path,
) -> list[Entry]:
    """What to serve of (task, version) pairs: the card's own version from its folder, a trained one from the store.

    A pair of a task or version that nobody knows here is left out.
    """
    own = {card.name: (card, weights) for card, weights in cards}
    trained = {(each.task, each.version): each for each in versions}
    found = []
    for task, number in wanted:
        if task not in own:
            continue
        card, weights = own[task]
        if number == card.version:
            found.append(Entry(card, weights))
        elif (task, number) in trained:
            version = trained[task, number]
            found.append(Entry(card_of(card, version), await fetch(store, version, folder)))
    return found
