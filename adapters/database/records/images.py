"""Images: whose they are, where they lie, and which results speak of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ImageIdentity:
    """Whose image an event carries and where it lies; the fields from `study_instance_uid` on are personal data.

    Dates and sex are kept as the DICOM header gives them (DA and CS value representations). `named` is False where the
    image itself names nobody (a picture): then no study and no patient is kept, which would stand in the way of theirs.
    """

    event_id: UUID
    object_id: str
    subject_id: str
    study_id: str
    blob_uri: str
    modality: str = ""
    sender: str = ""
    simulated: bool = False
    wrapped: bool = False
    observed_at: datetime | None = None
    sop_class_uid: str = ""
    transfer_syntax_uid: str = ""
    media_type: str = "application/dicom"
    laterality: str = ""
    destinations: tuple[str, ...] | None = None
    named: bool = True
    study_instance_uid: str = ""
    series_instance_uid: str = ""
    accession_number: str = ""
    issuer: str = ""
    patient_id: str = ""
    patient_name: str = ""
    birth_date: str = ""
    sex: str = ""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image event as stored, without personal data; `destinations` of its results as in `ImageObserved`."""

    event_id: UUID
    object_id: str
    subject_id: str
    study_id: str
    blob_uri: str
    modality: str
    sender: str
    observed_at: datetime | None
    sop_class_uid: str = ""
    media_type: str = "application/dicom"
    laterality: str = ""
    destinations: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class Followable:
    """A visible result as it stands now, with the image that it speaks of (None where no row tells)."""

    result_id: UUID
    withdrawn: bool
    superseded: bool
    image: StoredImage | None
