"""Every file of the shared DICOM collection has a defined end, and DCMTK agrees on the pixels where it is installed."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adapters.dicom_reading import decode_dicom, open_dicom
from adapters.imaging import pixel_hash, to_display
from schemas.errors import Unprocessable

ROOT = Path(__file__).resolve().parents[3] / "shared" / "data" / "dicom"
FILES = sorted(path for path in ROOT.rglob("*") if path.is_file()) if ROOT.is_dir() else []
pytestmark = pytest.mark.skipif(not FILES, reason=f"the shared DICOM collection is not at {ROOT}")

CORNERSTONE = ROOT / "cornerstone" / "testImages"
LOSSLESS = (
    "1.2.840.10008.1.2.1.dcm",
    ".1.2.dcm",
    "1.2.2.dcm",
    "1.2.1.99.dcm",
    "4.57.dcm",
    "4.70.dcm",
    "4.80.dcm",
    "4.90.dcm",
    "1.2.5.dcm",
)


def test_every_file_is_read_or_refused_with_a_reason() -> None:
    read, refused = 0, {}
    for path in FILES:
        try:
            image = decode_dicom(path.read_bytes())
        except Unprocessable as error:
            refused[path.relative_to(ROOT).as_posix()] = str(error)
            continue
        shown = to_display(image)
        assert shown.shape == (image.header.rows, image.header.columns), path
        assert shown.dtype == np.uint8
        assert len(pixel_hash(image)) == 64
        read += 1
    assert read >= 0.7 * len(FILES)
    assert all(len(reason) > 15 for reason in refused.values())
    undecoded = [name for name, reason in refused.items() if "damaged" in reason or "not supported" in reason]
    assert undecoded == []


def test_each_lossless_transfer_syntax_of_one_image_has_the_same_hash() -> None:
    named = [path for path in CORNERSTONE.glob("CTImage.dcm_*") if path.name.endswith(LOSSLESS)]
    assert len(named) == len(LOSSLESS)
    assert len({pixel_hash(decode_dicom(path.read_bytes())) for path in named}) == 1


@pytest.mark.parametrize("syntax", ["4.50.dcm", "4.51.dcm", "4.53.dcm", "4.55.dcm", "4.81.dcm", "4.91.dcm"])
def test_each_lossy_transfer_syntax_shows_nearly_the_same_image(syntax: str) -> None:
    plain = to_display(decode_dicom((CORNERSTONE / "CTImage.dcm").read_bytes())).astype(int)
    lossy = next(path for path in CORNERSTONE.glob("CTImage.dcm_*") if path.name.endswith(syntax))
    shown = to_display(decode_dicom(lossy.read_bytes())).astype(int)
    # process 1 keeps 8 of the 12 bits: steps of 32 Hounsfield units, 20 greys of this window
    assert np.corrcoef(shown.ravel(), plain.ravel())[0, 1] > 0.99


def test_headers_of_objects_without_pixels_are_read() -> None:
    report = ROOT / "highdicom" / "data" / "test_files" / "sr_document.dcm"
    header = open_dicom(report.read_bytes()).header
    assert (header.modality, header.has_pixels) == ("SR", False)


def test_of_every_reason_none_quotes_the_file() -> None:
    """Names in this collection are invented, but a reason with one in it would be a leak elsewhere."""
    for path in FILES:
        data = path.read_bytes()
        try:
            opened = open_dicom(data)
        except Unprocessable:
            continue
        private = [str(opened.dataset.get(name, "") or "") for name in ("PatientName", "PatientID", "AccessionNumber")]
        try:
            decode_dicom(data)
        except Unprocessable as error:
            leaked = [text for text in private if len(text) > 3 and text in str(error)]
        else:
            continue
        assert leaked == [], path


DCMTK = shutil.which("dcmj2pnm")
NOT_DCMTKS = ("4.80", "4.81", "4.90", "4.91")  # syntaxes that its JPEG tool does not read


@pytest.mark.skipif(DCMTK is None, reason="DCMTK's dcmj2pnm is not installed (Debian package dcmtk)")
def test_dcmtk_shows_the_same_greys_through_window_or_table(tmp_path: Path) -> None:
    """DCMTK renders windows, tables and MONOCHROME1 by the same standard: nowhere more than one grey level apart.

    Left out: images with padding (shown black here), and those whose window shows nothing (their range is used here).
    """
    assert DCMTK is not None
    compared = 0
    for path in FILES:
        try:
            image = decode_dicom(path.read_bytes())
        except Unprocessable:
            continue
        windowed = image.window is not None or image.voi_table is not None
        if image.stored.ndim == 3 or not windowed or image.padding is not None:
            continue
        if image.header.transfer_syntax_uid.endswith(NOT_DCMTKS):
            continue
        which = "+Wl" if image.voi_table is not None else "+Wi"
        target = tmp_path / "shown.pgm"
        command = [DCMTK, "--write-raw-pnm", "--no-overlays", "--frame", "1", which, "1", str(path), str(target)]
        if subprocess.run(command, capture_output=True, timeout=60).returncode != 0:
            continue  # a window inside functional groups, which it does not know
        theirs = np.asarray(Image.open(target)).astype(int)
        if theirs.min() == theirs.max():
            continue
        assert np.abs(to_display(image).astype(int) - theirs).max() <= 1, path.relative_to(ROOT)
        compared += 1
    assert compared >= 40
