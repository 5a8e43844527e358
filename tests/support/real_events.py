"""Real events to send: rows of intensive-care stays and chest X-rays, each with an identity that no other has."""

import csv
import gzip
import io
import math
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from clinstream import samples
from clinstream.sending.objects import StorageObject, load
from clinstream.sending.wrap import Wrapping, wrap
from tests.support.plant import ROOT
from triton_models.icu_mortality.preprocess import FEATURES

DATA = ROOT.parent / "shared" / "data"

_numbers = count()
_run = uuid4().hex[:8]


def data(*parts: str) -> Path:
    """A file or folder of the shared data; skips where the data is absent."""
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"the shared data is not here ({path.name}), only the packaged samples are")
    return path


@cache
def rows() -> list[dict[str, float | None]]:
    """The 62 features of real stays, None where nothing was measured: all of the shared data, else the samples."""
    shared = DATA / "tabular" / "icu_mortality_62_features.csv.gz"
    packed = samples.VITALS / "stays.csv"
    text = gzip.decompress(shared.read_bytes()).decode() if shared.exists() else packed.read_text()
    return [{name: _number(row[name]) for name in FEATURES} for row in csv.DictReader(io.StringIO(text))]


def _number(text: str) -> float | None:
    return None if not text or math.isnan(float(text)) else float(text)


def readings(number: int) -> list[dict[str, Any]]:
    """That many readings, each a real stay's features at a time that no other reading of this run has."""
    found = []
    for _ in range(number):
        n = next(_numbers)
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=n)
        found.append({"stay": f"{_run}-{n % 400}", "measured_at": at.isoformat(), "features": rows()[n % len(rows())]})
    return found


@cache
def pictures() -> list[bytes]:
    """A few real chest X-rays, normal and with pneumonia: of the shared data, else the samples."""
    shared = DATA / "chest_kermany"
    folders = [shared / "normal", shared / "pneumonia"] if shared.exists() else [samples.IMAGES]
    return [path.read_bytes() for folder in folders for path in sorted(folder.rglob("*.jp*g"))[:10]]


def xray(*, patient: str = "") -> pydicom.Dataset:
    """A real picture as a DX object with identities of its own and a few pixels that no other object has."""
    n = next(_numbers)
    found = pydicom.dcmread(io.BytesIO(wrap(pictures()[n % len(pictures())], Wrapping(subject=f"{_run}-{n % 40}"))))
    found.SOPInstanceUID = found.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    found.StudyInstanceUID, found.SeriesInstanceUID = generate_uid(), generate_uid()
    found.PatientID = patient or f"{_run}-{n}"
    pixels = np.frombuffer(found.PixelData, np.uint8).copy()
    pixels[:8] = np.frombuffer(n.to_bytes(4, "little") + bytes.fromhex(_run), np.uint8)
    found.PixelData = pixels.tobytes()
    return found


def storage_object(found: pydicom.Dataset, folder: Path) -> StorageObject:
    """The data set as `clinstream send` reads it from a file."""
    path = folder / f"{found.SOPInstanceUID}-{uuid4().hex[:6]}.dcm"
    found.save_as(path, enforce_file_format=True)
    made = load(path, Wrapping())
    assert isinstance(made, StorageObject), made
    path.unlink()
    return made


def xrays(number: int, folder: Path) -> list[StorageObject]:
    """That many images, each an object of its own."""
    return [storage_object(xray(), folder) for _ in range(number)]
