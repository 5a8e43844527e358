"""The first frame of a DICOM object as stored values: native, RLE and every compressed syntax that a kept codec reads.

pydicom decodes what it can; imagecodecs (libjpeg-turbo, OpenJPEG, libjxl; no GPL code) what pydicom's plugins leave.
"""

import struct
from collections.abc import Callable
from typing import Any, Final

import imagecodecs
import numpy.typing as npt
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import UID

from adapters.imaging import ImageHeader, Pixels
from schemas.errors import Unprocessable

JPEG: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 52, 53, 54, 55, 56))
JPEG_LOSSLESS: Final = frozenset({"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"})
JPEG_LS: Final = frozenset({"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"})
JPEG_2000: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203))
JPEG_XL: Final = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (110, 111, 112))
NATIVE: Final = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"})
RLE: Final = "1.2.840.10008.1.2.5"
ONE_SAMPLE: Final = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"})
COLOURS: Final = frozenset(
    {"RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT"}
)

FrameDecoder = Callable[[bytes], npt.NDArray[Any]]
OWN_DECODERS: Final[tuple[tuple[frozenset[str], FrameDecoder], ...]] = (
    (JPEG, imagecodecs.jpeg8_decode),
    (JPEG_2000, imagecodecs.jpeg2k_decode),
    (JPEG_XL, imagecodecs.jpegxl_decode),
)


def frame_values(dataset: Any, header: ImageHeader) -> tuple[Pixels, str, int]:
    """(stored values, photometric interpretation, bits stored) of the first frame.

    Colours come as RGB, or PALETTE COLOR before its table. Other bits than those stored are dropped.
    """
    syntax = header.transfer_syntax_uid
    samples = int(dataset.get("SamplesPerPixel", 1) or 1)
    if samples not in (1, 3):
        raise Unprocessable(f"{samples} samples a pixel are not supported (1 or 3 are)")
    bits = int(dataset.get("BitsStored", None) or dataset.BitsAllocated)
    photometric = str(dataset.PhotometricInterpretation).strip().upper()
    if (samples == 1) != (photometric in ONE_SAMPLE) or (samples == 3 and photometric not in COLOURS):
        raise Unprocessable(f"{samples} sample(s) a pixel do not go with photometric {photometric[:16]}")
    if syntax in NATIVE:
        _refuse_short(dataset, header, samples)
        return _as_stated(dataset, _by_pydicom(dataset, syntax), photometric, bits)
    if "PixelData" not in dataset:
        raise Unprocessable("the pixel data is compressed floating point, which no syntax defines")
    own = next((decoder for syntaxes, decoder in OWN_DECODERS if syntax in syntaxes), None)
    if own is None and syntax not in JPEG_LOSSLESS | JPEG_LS | {RLE}:
        raise Unprocessable(f"the transfer syntax {syntax} is not supported")
    if syntax != RLE:
        _refuse_other_size(_first_frame(dataset, header), header)
    try:
        stored = _by_pydicom(dataset, syntax)
    except Exception as error:  # any complaint of a plugin, of which pydicom makes one of several kinds
        if own is None:
            raise Unprocessable(f"the {UID(syntax).name} pixel data is damaged or cut off") from error
        try:
            stored = _by_own(own, _first_frame(dataset, header), dataset, header, samples)
        except Unprocessable:
            raise
        except Exception as second:  # as above, of the codecs
            raise Unprocessable(f"the {UID(syntax).name} pixel data is damaged or cut off") from second
    return _as_stated(dataset, stored, photometric, bits)


def _by_pydicom(dataset: Any, syntax: str) -> Pixels:
    # It masks by Bits Stored as if High Bit were the bit below: a value higher up would be gone.
    whole = {"bits_stored": int(dataset.BitsAllocated)} if _bits_below(dataset) else {}
    stored: Pixels = get_decoder(UID(syntax)).as_array(dataset, index=0, raw=False, **whole)[0]
    return stored


def _by_own(decoder: FrameDecoder, frame: bytes, dataset: Any, header: ImageHeader, samples: int) -> npt.NDArray[Any]:
    stored = decoder(frame)
    shape = (header.rows, header.columns) if samples == 1 else (header.rows, header.columns, 3)
    if stored.shape != shape:
        raise Unprocessable(f"the compressed image is {stored.shape}, the header promises {shape}")
    if dataset.get("PixelRepresentation", 0) == 1 and stored.dtype.kind == "u":
        return stored.astype(f"i{stored.dtype.itemsize}")
    return stored


def _as_stated(dataset: Any, stored: Pixels, photometric: str, bits: int) -> tuple[Pixels, str, int]:
    if stored.ndim == 3:
        return stored, "RGB", bits
    width = stored.dtype.itemsize * 8
    if stored.dtype.kind == "f" or not 1 <= bits < width:
        return stored, photometric, width if stored.dtype.kind == "f" else bits
    below = _bits_below(dataset)
    if stored.dtype.kind == "u":
        return (stored >> below) & stored.dtype.type((1 << bits) - 1), photometric, bits
    return (stored << (width - bits - below)) >> (width - bits), photometric, bits


def _bits_below(dataset: Any) -> int:
    """How many bits of a cell lie below the value: old devices put 12 bits into the upper part of 16 (High Bit 15).

    A codec hands its values out from bit 0 on, so this is asked of data that was stored as cells only.
    """
    if str(dataset.file_meta.get("TransferSyntaxUID", "")) not in (*NATIVE, RLE):
        return 0
    bits, high = dataset.get("BitsStored", None), dataset.get("HighBit", None)
    if not isinstance(bits, int) or not isinstance(high, int) or not 1 <= bits <= high < int(dataset.BitsAllocated):
        return 0
    return high + 1 - bits


def _refuse_short(dataset: Any, header: ImageHeader, samples: int) -> None:
    """Native data must hold what rows, columns, samples, frames and bits promise (PS3.5 8.1.1)."""
    name = next(name for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if name in dataset)
    allocated = int(dataset.BitsAllocated)
    pixels = header.rows * header.columns * samples * header.frames
    promised = (pixels * allocated + 7) // 8
    if str(dataset.PhotometricInterpretation) in ("YBR_FULL_422", "YBR_PARTIAL_422"):
        promised = promised * 2 // 3
    held = len(dataset[name].value or b"")
    if held < promised:
        raise Unprocessable(f"the pixel data holds {held} bytes, the header promises {promised}")


def _first_frame(dataset: Any, header: ImageHeader) -> bytes:
    try:
        frame: bytes = get_frame(dataset.PixelData, 0, number_of_frames=header.frames)
    except Exception as error:  # fragments without their delimiters raise struct, value and end-of-file errors
        raise Unprocessable("the compressed pixel data is cut off or its fragments are damaged") from error
    return frame


def _refuse_other_size(frame: bytes, header: ImageHeader) -> None:
    """A codestream that announces another size than the header is refused before any memory is spent on it."""
    size = announced_size(frame)
    if size is not None and size != (header.rows, header.columns):
        raise Unprocessable(
            f"the compressed image announces {size[0]} x {size[1]} pixels, the header {header.rows} x {header.columns}"
        )


def announced_size(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 stream states itself; None where it is not found."""
    at = frame.find(b"\xff\x4f\xff\x51", 0, 256)
    if at >= 0 and len(frame) >= at + 24:
        right, bottom, left, top = struct.unpack(">4I", frame[at + 8 : at + 24])
        return bottom - top, right - left
    if frame[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = struct.unpack(">2H", frame[at + 5 : at + 9])
            return rows, columns
        else:
            at += 2 + int(struct.unpack(">H", frame[at + 2 : at + 4])[0])
    return None
