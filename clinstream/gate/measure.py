"""How often the gate refuses what it should not, and finds what it should: shares with intervals, and what it costs."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from adapters import dicom_reading, imaging, quality
from adapters.imaging import DecodedImage, ImageHeader
from clinstream.gate import damage, pictures
from clinstream.gate.damage import Grey
from clinstream.gate.pictures import SHIPPABLE, Picture
from schemas.card import Shows
from schemas.errors import Unprocessable
from triton_models import figures
from triton_models.figures import Figure

PAGES: Final = 200
CHEST_MODALITIES: Final = frozenset({"CR", "DX"})


@dataclass(frozen=True, slots=True)
class Share:
    """How many of `n` pictures the gate refused, and by which codes; `refused` as (value, low, high)."""

    gate: Shows
    name: str
    n: int
    refused: Figure
    codes: dict[str, int]

    def json(self) -> dict[str, Any]:
        """For machines, rounded to four digits."""
        found = {"gate": self.gate, "name": self.name, "n": self.n, "refused": figures.rounded(self.refused)}
        return {**found, "codes": self.codes}


@dataclass(frozen=True, slots=True)
class Measured:
    """`usable` should not be refused, `unusable` should; `cost_ms` is processor time an image, median."""

    usable: Sequence[Share]
    unusable: Sequence[Share]
    cost_ms: float

    def json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "usable": [share.json() for share in self.usable],
            "unusable": [share.json() for share in self.unusable],
            "cost_ms": round(self.cost_ms, 3),
        }


def measure(data: Path, told: Callable[[str], None]) -> Measured:
    """Everything there is in `data` before the gate; raises UserError where an index is missing."""
    chance = np.random.default_rng(1)
    chests, limbs, photographs = pictures.chests(data), pictures.limbs(data), pictures.photographs(data)
    usable = []
    for source in sorted({one.source for one in chests}):
        for name, part in _parts([one for one in chests if one.source == source], source in SHIPPABLE):
            told(f"{source}, {name}")
            usable.append(share("chest", f"{source}, {name}", map(_opened, part)))
    for name, part in _parts(limbs, True):
        told(f"fracatlas, {name}")
        usable.append(share("limb", f"fracatlas, {name}", map(_opened, part)))
    kept = [one.greys() for one in chests if one.part == "test" and one.source in SHIPPABLE]
    told("what should be refused")
    pages = {kind: [damage.page(chance, kind == "dark") for _ in range(PAGES)] for kind in ("light", "dark")}
    unusable = [
        share("chest", "upper limb, held back", (_opened(one) for one in limbs if one.part == "test")),
        share("limb", "chest, held back", map(_of, kept)),
        *(share(gate, "otoscope photograph", map(_opened, photographs)) for gate in ("chest", "limb")),
        share("chest", "DICOM test file of another kind", _others(data)),
        *(share(gate, f"{kind} page", map(_of, made)) for gate in ("chest", "limb") for kind, made in pages.items()),
    ]
    for quarter, name in ((1, "turned left"), (2, "upside down"), (3, "turned right")):
        unusable.append(share("chest", f"chest {name}", (_of(np.rot90(one, quarter)) for one in kept)))
    for half, name in enumerate(("upper", "lower", "left", "right")):
        unusable.append(
            share("chest", f"{name} 45 % of a chest", (_of(damage.halved(one, half, 0.45)) for one in kept))
        )
    for name, expose in damage.EXPOSURES.items():
        unusable.append(share("chest", f"chest, {name}", (_of(expose(one)) for one in kept)))
    return Measured(usable, unusable, cost_ms(kept[:200]))


def share(gate: Shows, name: str, images: Iterable[DecodedImage]) -> Share:
    """What the gate says to these images."""
    said = [quality.fault(image, imaging.to_display(image), gate) for image in images]
    refused = np.array([fault is not None for fault in said])
    codes = Counter(fault.code for fault in said if fault is not None)
    return Share(gate, name, len(said), figures.proportion(refused), dict(sorted(codes.items())))


def cost_ms(greys: Sequence[Grey]) -> float:
    """Processor milliseconds of the gate for one image that it lets through, median."""
    spent = []
    for image in map(_of, greys):
        shown = imaging.to_display(image)
        started = time.thread_time()
        quality.fault(image, shown, "chest")
        spent.append((time.thread_time() - started) * 1000)
    return float(np.median(spent))


def _parts(found: Sequence[Picture], fitted: bool) -> Iterator[tuple[str, list[Picture]]]:
    if not fitted:
        yield "never fitted on", list(found)
        return
    yield "seen", [one for one in found if one.part != "test"]
    yield "held back", [one for one in found if one.part == "test"]


def _opened(picture: Picture) -> DecodedImage:
    return imaging.decode_picture(picture.path.read_bytes())


def _of(greys: Grey) -> DecodedImage:
    return DecodedImage(np.ascontiguousarray(greys), "MONOCHROME2", 8, ImageHeader())


def _others(data: Path) -> Iterator[DecodedImage]:
    """The DICOM test files that can be decoded and are no chest radiographs, each content once."""
    known: set[str] = set()
    for path in sorted(path for path in (data / "dicom").rglob("*") if path.is_file()):
        try:
            image = dicom_reading.decode_dicom(path.read_bytes())
        except Unprocessable:
            continue
        header = image.header
        content = imaging.pixel_hash(image)
        chest = header.modality in CHEST_MODALITIES and header.body_part == "CHEST"
        if not chest and content not in known and min(header.rows, header.columns) >= 32:
            known.add(content)
            yield image
