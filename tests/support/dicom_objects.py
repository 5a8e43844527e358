"""Small DICOM data sets for tests, written as they would be on the wire; real files come from the shared folder."""

import zlib
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
CT = "1.2.840.10008.5.1.4.1.1.2"


def data_set(**changes: Any) -> Dataset:
    """A complete little CT; a keyword set to None is left out."""
    values: dict[str, Any] = {
        "SOPClassUID": CT,
        "SOPInstanceUID": "1.2.826.0.1.3680043.8.498.1",
        "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.2",
        "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.3",
        "Modality": "CT",
        "PatientID": "4711",
        "IssuerOfPatientID": "HOSPITAL",
        "PatientName": "Doe^Jane",
        "Rows": 8,
        "Columns": 8,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        **changes,
    }
    found = Dataset()
    for keyword, value in values.items():
        if value is not None:
            setattr(found, keyword, value)
    if "PixelData" not in changes:
        found.add_new(0x7FE00010, "OW", bytes(range(128)))
    return found


def encoded(found: Dataset, syntax: str = EXPLICIT) -> bytes:
    """The data set's bytes in one of the four uncompressed transfer syntaxes."""
    file = DicomBytesIO()
    file.is_little_endian = syntax != BIG
    file.is_implicit_VR = syntax == IMPLICIT
    write_dataset(file, found)
    content = bytes(file.getvalue())
    if syntax == DEFLATED:
        packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(content) + packer.flush()
    return content


def part_10(found: Dataset, syntax: str = EXPLICIT) -> bytes:
    """The data set as a PS3.10 file, group 0002 as little as the standard allows."""
    meta = DicomBytesIO()
    meta.is_little_endian, meta.is_implicit_VR = True, False
    group = Dataset()
    for tag, value in (
        (0x00020002, str(found.get("SOPClassUID", CT))),
        (0x00020003, str(found.get("SOPInstanceUID", "1.2.3"))),
        (0x00020010, syntax),
    ):
        group.add_new(tag, "UI", value)
    write_dataset(meta, group)
    return bytes(128) + b"DICM" + bytes(meta.getvalue()) + encoded(found, syntax)
