"""An image as a door stored it, DICOM file or picture: its header first, its pixels when somebody claims it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from adapters import dicom_reading, imaging
from adapters.imaging import DecodedImage, ImageHeader
from schemas.errors import Unprocessable

DICOM: Final = "application/dicom"
PICTURES: Final = {"image/jpeg": "JPEG", "image/png": "PNG"}
# What a picture from an upload door is of (PS3.3 C.7.3.1.1.1 External-camera Photography): such doors take no other.
PICTURE_MODALITY: Final = "XC"
PICTURE_BODY_PART: Final = "EAR"


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """A header and the way to the pixels; `dataset` is None for a picture, which names nobody."""

    header: ImageHeader
    dataset: Any
    decode: Callable[[], DecodedImage]
    """The first frame; raises Unprocessable."""


def open_image(data: bytes, media_type: str, *, laterality: str = "") -> OpenedImage:
    """The stored bytes of an event, opened by their media type; raises Unprocessable saying why they are none.

    A picture carries no header of its own: what the door knows of it (`laterality`) takes its place.
    """
    if media_type in PICTURES:
        return _picture(data, PICTURES[media_type], laterality)
    if media_type != DICOM:
        raise Unprocessable(f"images of type {media_type[:40]} are not read; DICOM, JPEG and PNG are")
    opened = dicom_reading.open_dicom(data)
    header = opened.header if opened.header.laterality else replace(opened.header, laterality=laterality)
    return OpenedImage(header, opened.dataset, partial(dicom_reading.decode, opened))


def _picture(data: bytes, form: str, laterality: str) -> OpenedImage:
    rows, columns, frames = imaging.picture_size(data, (form,))
    header = ImageHeader(
        modality=PICTURE_MODALITY,
        body_part=PICTURE_BODY_PART,
        rows=rows,
        columns=columns,
        frames=frames,
        has_pixels=True,
        laterality=laterality,
    )

    def decode() -> DecodedImage:
        return replace(imaging.decode_picture(data, (form,)), header=header)

    return OpenedImage(header, None, decode)
