"""Made images with every transformation of greys, and the collection's colours, beside DCMTK's own rendering (CC8)."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from adapters.dicom_reading import decode_dicom, open_dicom
from adapters.imaging import to_colour, to_display
from schemas.errors import Unprocessable
from tests.contract.test_dicom_pixels_corpus import FILES, NOT_DCMTKS, ROOT
from tests.contract.test_dicom_pixels_values import dicom

DCMTK = shutil.which("dcmj2pnm")
pytestmark = pytest.mark.skipif(DCMTK is None, reason="DCMTK's dcmj2pnm is not installed (Debian package dcmtk)")

RAMP = np.linspace(0, 4095, 4096).astype(np.uint16).reshape(64, 64)
SIGNED = np.linspace(-2048, 2047, 4096).astype(np.int16).reshape(64, 64)
TWELVE = {"BitsStored": 12, "HighBit": 11}
WINDOW = {"WindowCenter": 2000, "WindowWidth": 1500}
INVERTED = {"PhotometricInterpretation": "MONOCHROME1"}
ROOTS = (np.sqrt(np.arange(4096)) * 63).astype(int)


def table(first: int, bits: int, entries: Any, *, signed: bool = False) -> list[Dataset]:
    """A look-up table of one item; `signed` is the representation of `first`."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if signed else "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", [int(entry) for entry in entries])
    item.ModalityLUTType = "US"
    return [item]


CASES: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "12 bits at the top of 16": (RAMP << 4, {"BitsStored": 12, "HighBit": 15, **WINDOW}),
    "12 bits in the middle of 16": ((RAMP << 2) | 3, {"BitsStored": 12, "HighBit": 13, **WINDOW}),
    "signed under an overlay": ((SIGNED & 0xFFF) | 0x5000, {**TWELVE, "WindowCenter": 0, "WindowWidth": 1000}),
    "32 bits": (RAMP.astype(np.uint32) * 1000, {"WindowCenter": 2_000_000, "WindowWidth": 1_500_000}),
    "rescaled by fractions": (
        RAMP,
        {**TWELVE, "RescaleSlope": 0.5, "RescaleIntercept": -300, "WindowCenter": 200.5, "WindowWidth": 333.25},
    ),
    "sigmoid": (RAMP, {**TWELVE, **WINDOW, "VOILUTFunction": "SIGMOID"}),
    "exact": (RAMP, {**TWELVE, **WINDOW, "VOILUTFunction": "LINEAR_EXACT"}),
    "a step": (RAMP, {**TWELVE, "WindowCenter": 2000, "WindowWidth": 1}),
    "inverted by window": (RAMP, {**TWELVE, **WINDOW, **INVERTED}),
    "inverted by table": (RAMP, {**TWELVE, **INVERTED, "VOILUTSequence": table(0, 12, np.arange(4096) ** 2 // 4096)}),
    "a table of 8 bits": (RAMP, {**TWELVE, "VOILUTSequence": table(1000, 8, np.arange(256))}),
    "a table of 10 bits": (RAMP, {**TWELVE, "VOILUTSequence": table(1000, 10, np.arange(1024))}),
    "a table over negative values": (
        RAMP,
        {
            **TWELVE,
            "RescaleSlope": 1,
            "RescaleIntercept": -1024,
            "VOILUTSequence": table(-1024, 12, np.arange(4096), signed=True),
        },
    ),
    "two tables": (
        RAMP,
        {**TWELVE, "ModalityLUTSequence": table(0, 12, ROOTS), "VOILUTSequence": table(0, 12, np.arange(4096)[::-1])},
    ),
    "a modality table and a window": (RAMP, {**TWELVE, "ModalityLUTSequence": table(0, 12, ROOTS), **WINDOW}),
    "a modality table of signed values": (
        SIGNED,
        {**TWELVE, "ModalityLUTSequence": table(-2048, 12, np.arange(4096), signed=True), **WINDOW},
    ),
    "a shape against its photometric": (RAMP, {**TWELVE, **WINDOW, "PresentationLUTShape": "INVERSE"}),
}


def rendered(path: Path, folder: Path, *options: str) -> np.ndarray | None:
    """DCMTK's picture of the first frame; None where it cannot."""
    target = folder / "shown.pnm"
    command = [str(DCMTK), "--write-raw-pnm", "--no-overlays", "--frame", "1", *options, str(path), str(target)]
    if subprocess.run(command, capture_output=True, timeout=60).returncode != 0:
        return None
    return np.asarray(Image.open(target)).astype(int)


@pytest.mark.parametrize("name", CASES)
def test_greys_are_those_of_dcmtk(name: str, tmp_path: Path) -> None:
    stored, elements = CASES[name]
    data = dicom(stored, **elements)
    path = tmp_path / "made.dcm"
    path.write_bytes(data)
    theirs = rendered(path, tmp_path, "+Wl" if "VOILUTSequence" in elements else "+Wi", "1")
    assert theirs is not None
    assert theirs.max() - theirs.min() > 200, "nothing is compared"
    assert np.abs(to_display(decode_dicom(data)).astype(int) - theirs).max() <= 1


@pytest.mark.skipif(not FILES, reason=f"the shared DICOM collection is not at {ROOT}")
def test_colours_are_those_of_dcmtk(tmp_path: Path) -> None:
    """Each kind of colour once: syntax, photometric interpretation, planes, depth; at most two steps apart."""
    kinds: dict[tuple[object, ...], Path] = {}
    for path in FILES:
        try:
            image = decode_dicom(path.read_bytes())
        except Unprocessable:
            continue
        header = image.header
        if image.stored.ndim == 3 and not header.transfer_syntax_uid.endswith(NOT_DCMTKS):
            kinds.setdefault((header.transfer_syntax_uid, stated(path), image.stored.dtype), path)
    compared = 0
    for path in kinds.values():
        theirs = rendered(path, tmp_path)
        image = decode_dicom(path.read_bytes())
        ours = to_colour(image)
        if theirs is None or theirs.ndim != 3 or ours is None:
            continue
        assert np.abs(ours.astype(int) - theirs).max() <= 2, path.relative_to(ROOT)
        compared += 1
    assert compared >= 8


def stated(path: Path) -> str:
    """What a file says of its samples."""
    found = open_dicom(path.read_bytes()).dataset
    return f"{found.get('PhotometricInterpretation')} {found.get('PlanarConfiguration')}"
