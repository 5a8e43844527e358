"""What arrives at the doors: images, vitals, readings of glucose."""

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from schemas.events.base import Base, BlobRef, Priority

Laterality = Literal["", "left", "right"]


GlucoseUnit = Literal["mg/dL", "mmol/L"]


Bound = Literal["", "low", "high"]


class ImageObserved(Base, frozen=True, kw_only=True):
    """An image object arrived at a door and is stored; `blob` is the data set as sent (PS3.10 file or picture).

    `object_id` is the SOP Instance UID for DICOM, and subject, laterality and content hash for an upload without one.
    `wrapped` marks a plain picture that our own sender wrapped as DX. `laterality` is that of a paired organ where the
    door knows it. `blob.media_type` tells a DICOM file (`application/dicom`) from a picture (`image/jpeg`).
    `called` is the called AE title. `routed_by` names the rows of the routing table that chose lane, `tasks` (None:
    what the cards claim, empty: none) and `destinations` of the results (None: the usual ones). `deidentified`: the
    stored data set and all ids made of it are pseudonymous; who it is of lies sealed beside it.
    """

    TYPE: ClassVar[str] = "org.clinstream.image.observed.v1"

    event_id: UUID
    object_id: str
    subject_id: str
    study_id: str
    blob: BlobRef
    priority: Priority
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    sender: str
    observed_at: datetime
    simulated: bool = False
    wrapped: bool = False
    laterality: Laterality = ""
    device: str = ""
    called: str = ""
    tasks: tuple[str, ...] | None = None
    destinations: tuple[str, ...] | None = None
    routed_by: tuple[str, ...] = ()
    deidentified: bool = False


class VitalsObserved(Base, frozen=True, kw_only=True):
    """One set of a stay's features (62 for `icu_mortality`), by name; None or absent means not measured.

    `object_id` is subject and time, `content` the hash of the values (`ids.features_content`).
    """

    TYPE: ClassVar[str] = "org.clinstream.vitals.observed.v1"

    event_id: UUID
    object_id: str
    content: str
    subject_id: str
    features: dict[str, float | None]
    measured_at: datetime
    observed_at: datetime
    sender: str = ""
    simulated: bool = False


class GlucoseObserved(Base, frozen=True, kw_only=True):
    """One reading of a continuous glucose monitor.

    `object_id` is wearer and sensor time (`ids.reading_object_id`), `content` the hash of value and bound
    (`ids.reading_content`). `glucose_mg_dl` was converted once; `raw_value` and `raw_unit` are what the uploader sent.
    `clipped` marks a value at the sensor's limit: a bound, not a measurement. `trend` is the uploader's own direction.
    `deleted` takes back whatever was said of that sensor time before: a revision like another, with the value that it
    takes back, and `ids.deletion_content` as its content.
    """

    TYPE: ClassVar[str] = "org.clinstream.glucose.observed.v1"

    event_id: UUID
    object_id: str
    content: str
    subject_id: str
    glucose_mg_dl: float
    raw_value: float
    raw_unit: GlucoseUnit
    measured_at: datetime
    observed_at: datetime
    clipped: Bound = ""
    trend: str = ""
    device: str = ""
    sender: str = ""
    simulated: bool = False
    deleted: bool = False
