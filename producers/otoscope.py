"""Pictures of ears: what an upload must say and which event it becomes; no HTTP and no folder here."""

from dataclasses import dataclass
from datetime import datetime

from adapters import bare_picture, telemetry
from adapters.kafka import Message
from adapters.pixels import blob_uri
from producers.aside import put_aside
from schemas import ids, topics
from schemas.envelope import pack
from schemas.errors import Unprocessable
from schemas.events import BlobRef, ImageObserved, Laterality, Priority

MODALITY = "XC"
"""External-camera Photography (PS3.3 C.7.3.1.1.1)."""

MAX_IMAGE_BYTES = 20_000_000
MAX_NAME = 128
SIDES: dict[str, Laterality] = {"left": "left", "right": "right"}


@dataclass(frozen=True, slots=True)
class Upload:
    """One picture and what was said of it."""

    image: bytes
    subject: str
    laterality: Laterality
    issuer: str = ""
    device: str = ""
    stat: bool = False
    simulated: bool = False


def side(text: str) -> Laterality:
    """Left or right; raises Unprocessable, since an ear is never guessed."""
    found = SIDES.get(text.strip().lower())
    if found is None:
        raise Unprocessable("laterality is required: left or right")
    return found


def named(stem: str) -> tuple[str, Laterality]:
    """Subject and side of a file called `SUBJECT_left` or `SUBJECT_right`, perhaps followed by `_anything`.

    Raises Unprocessable where the name has no side, two, or nothing before it.
    """
    parts = stem.split("_")
    sides = [place for place, part in enumerate(parts) if part.lower() in SIDES]
    subject = "_".join(parts[: sides[0]]).strip() if sides else ""
    if len(sides) != 1 or not subject or len(subject) > MAX_NAME:
        raise Unprocessable("the file's name does not say whose ear it is and which: SUBJECT_left or SUBJECT_right")
    return subject, side(parts[sides[0]])


def observed(
    upload: Upload, key: bytes, now: datetime, *, source: str
) -> tuple[ImageObserved, Message, tuple[str, bytes]]:
    """The event of a picture, its record, keyed by study, and the bytes (uri, bytes) to store.

    `source` is the door's name. Raises Unprocessable for what is not a whole JPEG or PNG.
    """
    if len(upload.image) > MAX_IMAGE_BYTES:
        raise Unprocessable(f"a picture has at most {MAX_IMAGE_BYTES:,} bytes")
    stored = bare_picture.bare(upload.image)
    sha256 = ids.sha256_hex(stored)
    subject = ids.subject_id(key, upload.issuer, upload.subject)
    object_id = ids.upload_object_id(subject, upload.laterality, sha256)
    if upload.simulated:
        object_id = ids.SIMULATED + object_id
    priority: Priority = "stat" if upload.stat else "routine"
    media_type = bare_picture.form(stored)
    event = ImageObserved(
        event_id=ids.event_id(object_id, sha256),
        object_id=object_id,
        subject_id=subject,
        # An upload names no study: what one subject had on one day is taken as one.
        study_id=ids.study_id(key, f"{subject} {now.date().isoformat()}"),
        blob=BlobRef(uri=blob_uri("pixels", sha256), sha256=sha256, size_bytes=len(stored), media_type=media_type),
        priority=priority,
        sop_class_uid="",
        transfer_syntax_uid="",
        modality=MODALITY,
        sender=source,
        observed_at=now,
        simulated=upload.simulated,
        laterality=upload.laterality,
        device=upload.device,
    )
    extensions = {"priority": priority, "objectid": object_id}
    if upload.simulated:
        extensions["simulated"] = "true"
    headers, value = pack(
        event,
        id=str(event.event_id),
        source=f"clinstream/{source}",
        subject=subject,
        time=now,
        traceparent=telemetry.new_traceparent(),
        extensions=extensions,
    )
    message = Message(topics.OBSERVED_OTOSCOPE, event.study_id.encode(), headers, value)
    return event, message, (event.blob.uri, stored)


def aside(data: bytes, reason: str, now: datetime, *, source: str) -> tuple[Message, tuple[str, bytes]]:
    """The dead letter of bytes that are no picture, and the bytes to keep."""
    return put_aside(
        data,
        door=source,
        sender=source,
        media_type=bare_picture.form(data) or "application/octet-stream",
        error_class="Unprocessable",
        reason=reason,
        now=now,
    )
