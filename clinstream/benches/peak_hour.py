"""A hospital's peak hour as work to send: which studies arrive when, and made-up objects; nothing is sent here."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import uuid4

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from clinstream.sending.objects import EXPLICIT_LITTLE, StorageObject
from schemas import ids

STAT_SHARE = 0.05
"""Of the studies; at least one, since what no study measures cannot be told."""

STUDY, SERIES, INSTANCE = ("2.25." + digit * 37 for digit in "123")
PATIENT = "BENCH-PATIENT-NUMBER"
"""Stand in an object's pattern for what each object or study has of its own, in the same length."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of study: how many of the hour's 250, and how many images and megabytes each has.

    A pixel is `samples` values of `bits` bits, of which `stored` count.
    """

    name: str
    studies: int
    modality: str
    sop_class: str
    images: int
    megabytes: float
    samples: int = 1
    bits: int = 16
    stored: int = 12

    def side(self, scale: float) -> int:
        """Pixels a side of a square image, so that the study has `scale` of its megabytes."""
        values = self.megabytes * scale * 1e6 / self.images / (self.bits // 8)
        return max(16, round(math.sqrt(values / self.samples) / 2) * 2)


KINDS = (
    Kind("XR", 120, "DX", uid.DigitalXRayImageStorageForPresentation, 3, 30.0),
    Kind("US", 50, "US", uid.UltrasoundImageStorage, 30, 9.0, 3, 8, 8),
    Kind("CT", 30, "CT", uid.CTImageStorage, 60, 32.0),
    Kind("MR", 25, "MR", uid.MRImageStorage, 200, 26.0),
    Kind("other", 25, "OT", uid.SecondaryCaptureImageStorage, 2, 2.0, 1, 8, 8),
)
HOUR = sum(kind.studies for kind in KINDS)


@dataclass(frozen=True, slots=True)
class Study:
    """One study: seconds of the hospital's time after the start at which its modality begins to send."""

    at_s: float
    kind: Kind
    urgent: bool


def arrivals(rate: float, minutes: float, seed: int) -> list[Study]:
    """The studies of so many minutes at `rate` an hour, at least one of each urgency; the same for the same seed.

    A Poisson process of which the number of events is known: independent, uniform times. The mix is the hour's.
    """
    random = np.random.default_rng(seed)
    count = max(2, round(rate * minutes / 60))
    kinds = _mix(count)
    random.shuffle(kinds)
    times = np.sort(random.uniform(0.0, minutes * 60, count)).tolist()
    urgent = set(random.choice(count, max(1, round(count * STAT_SHARE)), replace=False).tolist())
    return [
        Study(at, KINDS[kind], place in urgent) for place, (at, kind) in enumerate(zip(times, kinds, strict=True))
    ]  # fmt: skip


def _mix(count: int) -> list[int]:
    """Which kind each of `count` studies is, by largest remainders, as indices."""
    shares = [kind.studies * count / HOUR for kind in KINDS]
    whole = [int(share) for share in shares]
    behind = sorted(range(len(KINDS)), key=lambda place: whole[place] - shares[place])
    for place in behind[: count - sum(whole)]:
        whole[place] += 1
    return [place for place, number in enumerate(whole) for _ in range(number)]


def total_bytes(studies: Sequence[Study], scale: float) -> int:
    """What the pixels of these studies come to."""
    return sum(
        each.kind.images * each.kind.side(scale) ** 2 * each.kind.samples * (each.kind.bits // 8) for each in studies
    )


class Maker:
    """Makes objects of studies: valid DICOM, marked as simulated by whoever sends them, each with UIDs of its own.

    X-rays show `pictures`, so that models have real work; the others show noise. The last values of an image are its
    own, so that no two images share their pixels.
    """

    def __init__(self, pictures: Sequence[np.ndarray], scale: float) -> None:
        self._patterns: Mapping[str, list[tuple[bytes, bytes]]] = {
            kind.name: [_pattern(kind, pixels) for pixels in _images(kind, pictures, scale)] for kind in KINDS
        }
        self._random = np.random.default_rng()

    def objects(self, study: Study, name: str) -> Iterator[StorageObject]:
        """The objects of a study, one after the other as they are sent; `name` is for the lines about them."""
        patterns = self._patterns[study.kind.name]
        own = {STUDY: _uid(), SERIES: _uid(), PATIENT: f"BENCH-{uuid4().hex[:14]}"}
        for number in range(study.kind.images):
            head, pixels = patterns[number % len(patterns)]
            instance = _uid()
            for place, value in {**own, INSTANCE: instance}.items():
                head = head.replace(place.encode(), value.encode())
            last = self._random.integers(0, 1 << study.kind.stored, 64, dtype=np.uint16)
            tail = last.astype("<u2" if study.kind.bits == 16 else "u1").tobytes()
            data = b"".join((head, pixels[: -len(tail)], tail))
            event = ids.event_id(ids.SIMULATED + instance, ids.sha256_hex(data))
            yield StorageObject(f"{name}-{number}", study.kind.sop_class, instance, EXPLICIT_LITTLE, str(event), data)


def _images(kind: Kind, pictures: Sequence[np.ndarray], scale: float) -> list[np.ndarray]:
    """What a kind shows, as arrays of stored values."""
    side = kind.side(scale)
    if kind.name == "XR":
        return [_resized(picture, side * side) for picture in pictures[: 2 * kind.images]]
    shape = (side, side, kind.samples) if kind.samples > 1 else (side, side)
    values = np.random.default_rng(0).integers(0, 1 << kind.stored, shape)
    return [values.astype("<u2" if kind.bits == 16 else "u1")]


def _resized(picture: np.ndarray, pixels: int) -> np.ndarray:
    """The picture with about so many pixels, an even number a row, its greys as 12 bits."""
    rows, columns = picture.shape
    factor = math.sqrt(pixels / (rows * columns))
    size = (max(2, round(columns * factor / 2) * 2), max(2, round(rows * factor)))
    grey = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
    return grey.astype("<u2") << 4


def _pattern(kind: Kind, image: np.ndarray) -> tuple[bytes, bytes]:
    """An object's data set up to its pixels, and the pixels."""
    found = Dataset()
    found.SOPClassUID, found.SOPInstanceUID = kind.sop_class, INSTANCE
    found.StudyDate = found.StudyTime = found.AccessionNumber = found.ReferringPhysicianName = ""
    found.Modality, found.Manufacturer = kind.modality, "Bench"
    found.PatientName, found.PatientID = "Bench^Made", PATIENT
    found.PatientBirthDate = found.PatientSex = ""
    found.StudyInstanceUID, found.SeriesInstanceUID = STUDY, SERIES
    found.StudyID = found.SeriesNumber = found.InstanceNumber = ""
    if kind.name == "XR":
        found.BodyPartExamined, found.ViewPosition, found.PresentationIntentType = "CHEST", "PA", "FOR PRESENTATION"
        found.RescaleSlope, found.RescaleIntercept, found.RescaleType = 1, 0, "US"
        found.PresentationLUTShape = "IDENTITY"
    found.SamplesPerPixel = kind.samples
    found.PhotometricInterpretation = "MONOCHROME2" if kind.samples == 1 else "RGB"
    if kind.samples > 1:
        found.PlanarConfiguration = 0
    found.Rows, found.Columns = image.shape[:2]
    found.BitsAllocated, found.BitsStored, found.HighBit = kind.bits, kind.stored, kind.stored - 1
    found.PixelRepresentation = 0
    pixels = image.tobytes()
    found.add_new(0x7FE00010, "OW", pixels)
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    write_dataset(file, found)
    return file.getvalue()[: -len(pixels)], pixels


def _uid() -> str:
    """A UID as long as the one that it replaces (PS3.5 B.2)."""
    return f"2.25.{10**36 + uuid4().int % 10**36}"
