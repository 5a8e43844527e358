"""Single frames of stored DICOM files as they are encoded in it; decoding them is in `dicom_frames`."""

import io
import warnings
from collections.abc import Sequence
from typing import Any, Final

from pydicom.encaps import get_frame
from pydicom.filereader import dcmread
from pydicom.uid import ExplicitVRLittleEndian

from schemas.errors import Unprocessable

BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
MAX_FRAMES: Final = 1_000_000


def encoded_frames(data: bytes, numbers: Sequence[int]) -> tuple[str, list[bytes]]:
    """(transfer syntax, frames) of a PS3.10 file, counted from 1: compressed as they are, native in little endian.

    Raises LookupError for a frame that the object does not have, Unprocessable where frames cannot be told apart.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # noise of old devices
            dataset = dcmread(io.BytesIO(data))
            syntax = dataset.file_meta.TransferSyntaxUID
            count = min(int(dataset.get("NumberOfFrames", 1) or 1), MAX_FRAMES)
            pixels = dataset.get("PixelData", None)
            encapsulated = bool(syntax.is_encapsulated)
    except Exception as error:  # a parser meets hostile bytes: whatever it raises means that it cannot be read
        raise Unprocessable(f"not a readable DICOM data set ({type(error).__name__})") from error
    if not pixels or any(not 0 < number <= count for number in numbers):
        raise LookupError("the object has no such frame")
    if encapsulated:
        return str(syntax), [_fragment(pixels, number, count) for number in numbers]
    if str(syntax) == BIG_ENDIAN:
        raise Unprocessable("frames of a big endian object are not given out")
    size = _native_size(dataset)
    found = [pixels[(number - 1) * size : number * size] for number in numbers]
    if any(len(frame) != size for frame in found):
        raise Unprocessable("the pixel data is shorter than the header promises")
    return str(ExplicitVRLittleEndian), found


def _fragment(pixels: bytes, number: int, count: int) -> bytes:
    try:
        return bytes(get_frame(pixels, number - 1, number_of_frames=count))
    except Exception as error:  # fragments without their delimiters raise struct, value and end-of-file errors
        raise Unprocessable("the compressed pixel data is cut off or its fragments are damaged") from error


def _native_size(dataset: Any) -> int:
    """Bytes of one frame (PS3.5 8.1.1)."""
    try:
        samples = int(dataset.get("SamplesPerPixel", 1) or 1)
        bits = int(dataset.Rows) * int(dataset.Columns) * samples * int(dataset.BitsAllocated)
        if str(dataset.get("PhotometricInterpretation", "")) in ("YBR_FULL_422", "YBR_PARTIAL_422"):
            bits = bits * 2 // 3
    except (AttributeError, TypeError, ValueError) as error:
        raise Unprocessable("the header does not say how large a frame is") from error
    if bits % 8 or not bits:
        raise Unprocessable("frames that share bytes are not given out")
    return bits // 8
