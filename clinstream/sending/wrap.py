"""A plain picture of an X-ray as a DX object (PS3.3 A.26), marked as wrapped; DICOM files are never changed here."""

import io
from dataclasses import dataclass
from uuid import uuid5

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

from adapters import imaging
from producers.dicom_identity import SIMULATED_MARK, WRAPPED_MARK
from schemas import ids

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
IMPLEMENTATION = f"2.25.{uuid5(ids.NAMESPACE, 'implementation').int}"


@dataclass(frozen=True, slots=True)
class Wrapping:
    """What a picture cannot say of itself. Without `subject` each picture is a subject of its own."""

    subject: str = ""
    body_part: str = "CHEST"
    view: str = ""


def is_picture(content: bytes) -> bool:
    """Whether these bytes are a JPEG or PNG file, by their first bytes, not by the file's name."""
    return content.startswith((JPEG, PNG))


def wrap(content: bytes, wrapping: Wrapping, *, simulated: bool = False) -> bytes:
    """A PS3.10 file with the picture's greys, uncompressed; the same picture always becomes the same object.

    Raises Unprocessable when the picture cannot be decoded. Colours become luma: a DX image has none.
    """
    picture = imaging.decode_picture(content)
    grey = picture.stored if picture.stored.ndim == 2 else imaging.to_display(picture)
    bits = 16 if grey.dtype == np.uint16 else 8
    digest = ids.sha256_hex(content)
    found = _identity(digest, wrapping)
    _describe(found, wrapping, jpeg=content.startswith(JPEG), simulated=simulated)
    found.SamplesPerPixel = 1
    found.PhotometricInterpretation = "MONOCHROME2"
    found.Rows, found.Columns = (int(size) for size in grey.shape)
    found.BitsAllocated = found.BitsStored = bits
    found.HighBit = bits - 1
    found.PixelRepresentation = 0
    raw = np.ascontiguousarray(grey, dtype="<u2" if bits == 16 else "u1").tobytes()
    found.add_new(0x7FE00010, "OW", raw + b"\0" * (len(raw) % 2))
    file = io.BytesIO()
    found.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _identity(digest: str, wrapping: Wrapping) -> Dataset:
    """Study, series and object by the picture's SHA-256, so that sending it twice is one event (UIDs: PS3.5 B.2)."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION
    found = Dataset()
    found.file_meta = meta
    found.SOPClassUID = DigitalXRayImageStorageForPresentation
    found.SOPInstanceUID = _uid("instance", digest)
    found.StudyInstanceUID = _uid("study", digest)
    found.SeriesInstanceUID = _uid("series", digest)
    found.PatientName = ""
    found.PatientID = wrapping.subject or f"picture-{digest[:16]}"
    found.IssuerOfPatientID = "clinstream-send"
    found.PatientBirthDate = found.PatientSex = ""
    found.StudyDate = found.StudyTime = found.StudyID = found.AccessionNumber = ""
    found.ReferringPhysicianName = ""
    found.SeriesNumber = found.InstanceNumber = 1
    return found


def _describe(found: Dataset, wrapping: Wrapping, *, jpeg: bool, simulated: bool) -> None:
    found.Modality = "DX"
    found.PresentationIntentType = "FOR PRESENTATION"
    found.ImageType = ["DERIVED", "PRIMARY"]
    found.ConversionType = "WSD"  # made at a workstation (PS3.3 C.8.6.1)
    found.BodyPartExamined = wrapping.body_part
    found.ViewPosition = wrapping.view
    found.ImageLaterality = "U"
    found.PixelIntensityRelationship = "LOG"
    found.PixelIntensityRelationshipSign = -1
    found.RescaleSlope, found.RescaleIntercept, found.RescaleType = 1, 0, "US"
    found.PresentationLUTShape = "IDENTITY"
    found.LossyImageCompression = "01" if jpeg else "00"
    found.BurnedInAnnotation = "YES"  # nobody has looked; YES is what keeps a de-identifier careful
    marks = [WRAPPED_MARK, SIMULATED_MARK] if simulated else [WRAPPED_MARK]
    found.ContributingEquipmentSequence = [_equipment(mark) for mark in marks]


def _equipment(mark: str) -> Dataset:
    """Contributing Equipment (PS3.3 C.12.1.1.5): who made the object what it is, purpose 109102 of CID 7005."""
    purpose = Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "109102", "DCM", "Processing Equipment"
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [purpose]
    item.Manufacturer = "clinstream"
    item.ContributionDescription = mark
    return item


def _uid(kind: str, digest: str) -> str:
    return "2.25." + str(uuid5(ids.NAMESPACE, "\n".join(("wrapped", kind, digest))).int)
