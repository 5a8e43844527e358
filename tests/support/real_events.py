"""Real events to send: stays, chest X-rays and ear photographs, each with an identity that no other has."""

import csv
import gzip
import io
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from clinstream import samples
from clinstream.sending.objects import StorageObject, load
from clinstream.sending.wrap import Wrapping, wrap
from schemas import ids
from schemas.events import GlucoseObserved
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


@dataclass(frozen=True)
class Observed:
    """A glucose reading as its door makes an event of it."""

    event: GlucoseObserved


def glucose(wearers: int) -> list[Observed]:
    """An hour of each of that many wearers, up to now: what is older than 15 minutes takes the backfill lane."""
    found = []
    now = datetime.now(UTC).replace(microsecond=0)
    for _ in range(wearers):
        n = next(_numbers)
        subject = ids.subject_id(b"tests", "", f"{_run}-{n}")
        for step in range(12):
            at = now - timedelta(minutes=5 * (11 - step))
            mg_dl = round(120 + 50 * math.sin(n + step / 3))
            thing, content = ids.reading_object_id(subject, at), ids.reading_content(mg_dl)
            event = GlucoseObserved(
                event_id=ids.event_id(thing, content),
                object_id=thing,
                content=content,
                subject_id=subject,
                glucose_mg_dl=mg_dl,
                raw_value=mg_dl,
                raw_unit="mg/dL",
                measured_at=at,
                observed_at=now,
            )
            found.append(Observed(event))
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


@cache
def ear_pictures() -> list[bytes]:
    """A few real otoscope photographs of each label: of the shared data, else coloured discs that are no ears."""
    shared = DATA / "otoscope_viscaino"
    if shared.exists():
        return [path.read_bytes() for folder in sorted(shared.iterdir()) for path in sorted(folder.glob("*.jpg"))[:5]]
    return [_disc(hue) for hue in range(8)]


def _disc(hue: int) -> bytes:
    rows, columns = np.mgrid[0:240, 0:240]
    away = np.hypot(rows - 120, columns - 120)
    shade = (200 - away)[..., None] * np.array([1.0, 0.9 - 0.08 * hue, 0.7 - 0.06 * hue])
    lit = np.where(away[..., None] < 110, shade + 15 * np.sin(rows / 9)[..., None], 0)
    stream = io.BytesIO()
    Image.fromarray(lit.clip(0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def ear() -> Dataset:
    """An ear photograph as a VL Photographic object with identities of its own and a few pixels that no other has."""
    n = next(_numbers)
    pixels = np.array(Image.open(io.BytesIO(ear_pictures()[n % len(ear_pictures())])).convert("RGB"))
    pixels[0, :8, 0] = np.frombuffer(n.to_bytes(4, "little") + bytes.fromhex(_run), np.uint8)
    found = Dataset()
    found.file_meta = FileMetaDataset()
    found.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    found.file_meta.MediaStorageSOPClassUID = found.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.4"
    found.file_meta.MediaStorageSOPInstanceUID = found.SOPInstanceUID = generate_uid()
    found.StudyInstanceUID, found.SeriesInstanceUID = generate_uid(), generate_uid()
    found.Modality, found.BodyPartExamined, found.PatientID = "XC", "EAR", f"{_run}-{n}"
    found.ImageLaterality = "L"
    found.Rows, found.Columns = pixels.shape[:2]
    found.SamplesPerPixel, found.PhotometricInterpretation, found.PlanarConfiguration = 3, "RGB", 0
    found.BitsAllocated = found.BitsStored = 8
    found.HighBit, found.PixelRepresentation = 7, 0
    found.add_new("PixelData", "OB", pixels.tobytes())
    return found


def ears(number: int, folder: Path) -> list[StorageObject]:
    """That many ear photographs, each an object of its own."""
    return [storage_object(ear(), folder) for _ in range(number)]


def storage_object(found: Dataset, folder: Path) -> StorageObject:
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
