"""Work for the measurements: distinct vitals, readings and images, marked as simulated; nothing is measured here."""

import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset

from adapters import dicom_reading
from adapters.kafka import Message, Publisher
from adapters.pixels import BlobStore, blob_uri
from clinstream.sending.wrap import Wrapping, wrap
from schemas import envelope, ids
from schemas.errors import UserError
from schemas.events import BlobRef, GlucoseObserved, ImageObserved, Priority, VitalsObserved
from triton_models.icu_mortality.preprocess import RANGES

SOURCE = "/clinstream/bench"
KEY = b"bench"
MISSING = 0.24  # the share of features that real stays lack
CHUNK = 500
PICTURES = frozenset({".jpg", ".jpeg", ".png"})
SAMPLES = Path(__file__).parents[1] / "samples" / "pack" / "images"


def vitals(count: int, *, seed: int = 0) -> list[VitalsObserved]:
    """`count` plausible sets of features, each of a stay of its own that no other run shares."""
    random = np.random.default_rng(seed)
    run = uuid4().hex
    low = np.array([bounds.low for bounds in RANGES.values()])
    high = np.array([bounds.high for bounds in RANGES.values()])
    flags = np.array([bounds.flag for bounds in RANGES.values()])
    values = low + random.random((count, len(RANGES))) * (high - low)
    values = np.where(flags, np.rint(values), values)
    missing = random.random(values.shape) < MISSING
    now = datetime.now(UTC)
    return [
        _vitals(f"{run}-{row}", values[row].tolist(), missing[row].tolist(), now) for row in range(count)
    ]  # fmt: skip


def _vitals(stay: str, values: Sequence[float], missing: Sequence[bool], now: datetime) -> VitalsObserved:
    features: dict[str, float | None] = {
        name: None if absent else value for name, value, absent in zip(RANGES, values, missing, strict=True)
    }
    subject = ids.subject_id(KEY, "bench", stay)
    thing, content = ids.SIMULATED + ids.reading_object_id(subject, now), ids.features_content(features)
    return VitalsObserved(
        event_id=ids.event_id(thing, content),
        object_id=thing,
        content=content,
        subject_id=subject,
        features=features,
        measured_at=now,
        observed_at=now,
        sender="bench",
        simulated=True,
    )


def wearers(count: int) -> list[str]:
    """`count` pseudonyms of wearers that no other run shares."""
    run = uuid4().hex
    return [ids.subject_id(KEY, "bench", f"{run}-{number}") for number in range(count)]


def history(wearers: Sequence[str], count: int) -> list[list[GlucoseObserved]]:
    """`count` rounds of readings, five minutes apart, the last one five minutes ago."""
    now = datetime.now(UTC)
    return [readings(wearers, now - timedelta(minutes=5 * ago)) for ago in range(count, 0, -1)]


def readings(wearers: Sequence[str], at: datetime) -> list[GlucoseObserved]:
    """One plausible reading of each wearer at a time (kept to the millisecond): a slow wave with some noise."""
    random = np.random.default_rng()
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)
    phase = np.arange(len(wearers)) * 0.37 + at.timestamp() / 2400
    values = np.rint(140 + 60 * np.sin(phase) + random.normal(0, 3, len(wearers)))
    return [_reading(wearer, value, at) for wearer, value in zip(wearers, values.tolist(), strict=True)]


def _reading(wearer: str, mg_dl: float, at: datetime) -> GlucoseObserved:
    thing, content = ids.SIMULATED + ids.reading_object_id(wearer, at), ids.reading_content(mg_dl)
    return GlucoseObserved(
        event_id=ids.event_id(thing, content),
        object_id=thing,
        content=content,
        subject_id=wearer,
        glucose_mg_dl=mg_dl,
        raw_value=mg_dl,
        raw_unit="mg/dL",
        measured_at=at,
        observed_at=at,
        sender="bench",
        simulated=True,
    )


def pictures(folder: Path | None, side: int = 1536, most: int = 32) -> list[np.ndarray]:
    """Real X-rays to make work of, as uint8 greys: those of `folder`, else the packaged ones.

    Smaller ones are enlarged until the longer side has `side` pixels: radiographs have 2 to 10 million of them (a CR
    plate of 18 x 24 cm 1,760 x 2,140), and a thumbnail would measure the log and not the work. Raises UserError when
    there is none.
    """
    place = folder or SAMPLES
    found = sorted(path for path in place.rglob("*") if path.suffix.lower() in PICTURES)[:most]
    if not found:
        raise UserError(f"There is no JPEG or PNG picture in {place}; name a folder of X-rays with --images.")
    return [_enlarged(Image.open(path).convert("L"), side) for path in found]


def _enlarged(picture: Image.Image, side: int) -> np.ndarray:
    factor = max(1.0, side / max(picture.size))
    size = (round(picture.width * factor), round(picture.height * factor))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC))


async def images(
    store: BlobStore, originals: Sequence[np.ndarray], count: int, priority: Priority = "routine"
) -> list[ImageObserved]:
    """`count` stored objects: the originals in turn, the last row noisy, so that no two share their pixels."""
    random = np.random.default_rng()
    templates = [(pixels.copy(), _wrapped(pixels)) for pixels in originals[:count]]
    made = []
    for number in range(count):
        pixels, dataset = templates[number % len(templates)]
        pixels[-1] = random.integers(0, 256, pixels.shape[1], dtype=np.uint8)
        data = _file(dataset, pixels)
        digest = ids.sha256_hex(data)
        await store.put(blob_uri("pixels", digest), data, durable=False)
        made.append(_image(data, digest, priority))
    return made


def _wrapped(pixels: np.ndarray) -> Dataset:
    picture = io.BytesIO()
    Image.fromarray(pixels).save(picture, "PNG", compress_level=0)
    return pydicom.dcmread(io.BytesIO(wrap(picture.getvalue(), Wrapping(view="PA"), simulated=True)))


def _file(dataset: Dataset, pixels: np.ndarray) -> bytes:
    """The object with other pixels, and UIDs of its own (PS3.5 B.2)."""
    for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(dataset, name, f"2.25.{uuid4().int}")
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    raw = pixels.tobytes()
    dataset.PixelData = raw + b"\0" * (len(raw) % 2)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _image(data: bytes, digest: str, priority: Priority) -> ImageObserved:
    header = dicom_reading.read_header(data)
    thing = ids.SIMULATED + header.sop_instance_uid
    return ImageObserved(
        event_id=ids.event_id(thing, digest),
        object_id=thing,
        subject_id=ids.subject_id(KEY, "bench", digest),
        study_id=ids.study_id(KEY, digest),
        blob=BlobRef(
            uri=blob_uri("pixels", digest), sha256=digest, size_bytes=len(data), media_type="application/dicom"
        ),
        priority=priority,
        sop_class_uid=header.sop_class_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        modality=header.modality,
        sender="bench",
        observed_at=datetime.now(UTC),
        simulated=True,
        wrapped=True,
    )


def messages(events: Iterable[VitalsObserved | ImageObserved | GlucoseObserved], topic: str) -> list[Message]:
    """The events as a door would publish them."""
    return [_message(event, topic) for event in events]


def _message(event: VitalsObserved | ImageObserved | GlucoseObserved, topic: str) -> Message:
    extensions = {"simulated": "true", "objectid": event.object_id}
    if isinstance(event, ImageObserved):
        extensions["priority"] = event.priority
    headers, value = envelope.pack(
        event,
        id=str(event.event_id),
        source=SOURCE,
        subject=event.subject_id,
        time=event.observed_at,
        extensions=extensions,
    )
    key = event.study_id if isinstance(event, ImageObserved) else event.subject_id
    return Message(topic, key.encode(), headers, value)


async def publish(publisher: Publisher, work: Sequence[Message]) -> None:
    """Puts all messages onto the log, acknowledged."""
    for chunk in _chunks(work):
        await publisher.publish_many(chunk)


def _chunks(work: Sequence[Message]) -> Iterator[Sequence[Message]]:
    for start in range(0, len(work), CHUNK):
        yield work[start : start + CHUNK]
