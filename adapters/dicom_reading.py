"""DICOM bytes become a header and a decoded first frame, or `Unprocessable`; nothing is sent or stored here."""

import io
import re
import warnings
import zlib
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pydicom
from pydicom.dataset import FileDataset
from pydicom.pixels import apply_color_lut

from adapters.dicom_frames import frame_values
from adapters.imaging import MAX_PIXELS, DecodedImage, ImageHeader, Pixels, Table, Window
from schemas.errors import Unprocessable

DEFLATED: Final = b"1.2.840.10008.1.2.1.99"
MAX_INFLATED_BYTES = 1 << 30
MAX_FRAMES = 1_000_000
PIXEL_TAGS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
DESCRIPTIONS: Final = ("ProtocolName", "SeriesDescription", "StudyDescription", "RequestedProcedureDescription")
CHEST: Final = re.compile(r"chest|t(h)?ora[xck]|lung|\bcxr\b", re.IGNORECASE)
MORE_THAN_CHEST: Final = re.compile(r"abd|pelv|spine|neck", re.IGNORECASE)
# Parts of the upper limb as devices write them, by Defined Term (PS3.16 Annex L); the first that fits counts.
UPPER_LIMB: Final = {
    term: re.compile(pattern, re.IGNORECASE)
    for term, pattern in {
        "WRIST": r"wrist|carp(us|al)|scaphoid|mu[nñ]eca|poignet|handgelenk",
        "FOREARM": r"fore ?arm|radius|ulna|antebra[cz]|avant.bras|unterarm",
        "ELBOW": r"elbow|\bcodo\b|coude|ellbogen|olecranon",
        "HUMERUS": r"humer|upper ?arm|oberarm",
        "SHOULDER": r"shoulder|scapula|\bhombro\b|[eé]paule|schulter",
        "CLAVICLE": r"clavic",
        "FINGER": r"finger|thumb|\bdigit",
        "HAND": r"\bhands?\b|\bmano\b|\bmain\b",
        "ARM": r"\barm\b|upper ?(limb|extremity)",
    }.items()
}
THORAX_CODES: Final = frozenset({"51185008", "T-D3000", "43799004", "816094009"})
# Ear, ear canal, eardrum and middle ear in SNOMED CT, and the ear's older code (PS3.16 CID 4031).
EAR_CODES: Final = frozenset({"117590005", "84301002", "42859004", "25577004", "T-AB000"})
VISIBLE_LIGHT: Final = frozenset({"ES", "XC"})


@dataclass(frozen=True, slots=True)
class DicomObject:
    """A parsed data set and its header; the pixels are still encoded."""

    header: ImageHeader
    dataset: FileDataset


def open_dicom(data: bytes) -> DicomObject:
    """Parses a PS3.10 file; `Unprocessable` says why it is none, without quoting its contents."""
    if len(data) < 132 or data[128:132] != b"DICM":
        raise Unprocessable(_not_dicom(data))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters is refused below, by name; the rest is noise of old devices
            _refuse_bomb(data)
            dataset = pydicom.dcmread(io.BytesIO(data))
            return DicomObject(_header(dataset), dataset)
    except Unprocessable:
        raise
    except Exception as error:  # a parser meets hostile bytes: whatever it raises means that it cannot be read
        raise Unprocessable(f"not a readable DICOM data set ({type(error).__name__})") from error


def read_header(data: bytes) -> ImageHeader:
    """The header of a PS3.10 file without decoding its pixels."""
    return open_dicom(data).header


def decode_dicom(data: bytes) -> DecodedImage:
    """The first frame of a PS3.10 file; `Unprocessable` in every case in which there is none to be had."""
    return decode(open_dicom(data))


def decode(source: DicomObject) -> DecodedImage:
    """The first frame of a parsed object, as stored values with what turns them into greys."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as above
            return _decode(source)
    except Unprocessable:
        raise
    except MemoryError as error:
        raise Unprocessable("the image is too large for the memory of this machine") from error
    except Exception as error:  # decoders raise anything on damaged streams: none of it may stop the lane
        raise Unprocessable(f"the pixel data cannot be decoded ({type(error).__name__})") from error


def _not_dicom(data: bytes) -> str:
    start = data[:256].lstrip().lower()
    if not data:
        return "the object is empty"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "not a DICOM file: it is a web page or other mark-up"
    if start.startswith((b"{", b"[")):
        return "not a DICOM file: it is JSON text"
    if start.startswith((b"\x89png", b"\xff\xd8\xff", b"%pdf", b"pk\x03\x04")):
        return "not a DICOM file: it is a picture, PDF or archive"
    return "not a DICOM file: the DICM prefix after 128 bytes is missing"


def _refuse_bomb(data: bytes) -> None:
    """A deflated data set may grow a thousandfold: it is inflated in steps first, with an end."""
    if DEFLATED not in data[132:2048]:
        return
    if data[132:138] != b"\x02\x00\x00\x00UL":
        raise Unprocessable("a deflated data set needs the length of its file meta information (0002,0000)")
    rest = data[144 + int.from_bytes(data[140:144], "little") :]
    inflate, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while rest and not inflate.eof:
        total += len(inflate.decompress(rest, 1 << 24))
        rest = inflate.unconsumed_tail
        if total > MAX_INFLATED_BYTES:
            raise Unprocessable(f"the deflated data set grows beyond {MAX_INFLATED_BYTES} bytes")


def _header(dataset: FileDataset) -> ImageHeader:
    meta = dataset.file_meta
    return ImageHeader(
        sop_instance_uid=_text(dataset, "SOPInstanceUID"),
        sop_class_uid=_text(dataset, "SOPClassUID"),
        transfer_syntax_uid=str(meta.get("TransferSyntaxUID", "") or ""),
        modality=_text(dataset, "Modality").upper(),
        body_part=_body_part(dataset),
        view_position=_text(dataset, "ViewPosition").upper(),
        patient_age_years=_age_years(dataset),
        rows=_whole(dataset, "Rows"),
        columns=_whole(dataset, "Columns"),
        frames=max(1, _whole(dataset, "NumberOfFrames", 1)),
        has_pixels=any(name in dataset for name in PIXEL_TAGS) or "Rows" in dataset,
        presentation_intent=_text(dataset, "PresentationIntentType").upper(),
        manufacturer=_text(dataset, "Manufacturer"),
        implementation_class_uid=str(meta.get("ImplementationClassUID", "") or ""),
        requested_priority=_text(dataset, "RequestedProcedurePriority").upper(),
        laterality=_laterality(dataset),
    )


def _text(dataset: Any, name: str) -> str:
    """One text value, empty where it is absent or cannot be read: a header never stops the object."""
    try:
        value = dataset.get(name, "")
    except Exception:  # a damaged element that pydicom reads only on access
        return ""
    if value is None:
        return ""
    if isinstance(value, pydicom.multival.MultiValue):
        value = value[0] if len(value) else ""
    return str(value).strip("\0 ")


def _whole(dataset: Any, name: str, otherwise: int = 0) -> int:
    text = _text(dataset, name)
    return int(text) if re.fullmatch(r"[+]?\d{1,9}", text) else otherwise


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _body_part(dataset: Any) -> str:
    stated = _text(dataset, "BodyPartExamined").upper()
    if stated:
        return _named_part(stated) or stated
    for region in dataset.get("AnatomicRegionSequence", None) or ():
        code = _text(region, "CodeValue")
        if code in THORAX_CODES:
            return "CHEST"
        if code in EAR_CODES:
            return "EAR"
        if code and _text(dataset, "Modality").upper() in VISIBLE_LIGHT:
            # An endoscope goes everywhere: a region that is stated and not known here is a foreign one.
            return f"REGION {code}"
    return next((part for name in DESCRIPTIONS if (part := _named_part(_text(dataset, name)))), "")


def _named_part(text: str) -> str:
    """The Defined Term of a part that a model here knows, found in free text; empty where none is."""
    if _is_chest(text):
        return "CHEST"
    return next((term for term, pattern in UPPER_LIMB.items() if pattern.search(text)), "")


def _laterality(dataset: Any) -> str:
    """Of the image before that of the series, (0020,0062) and (0020,0060); both sides at once count as none."""
    stated = _text(dataset, "ImageLaterality") or _text(dataset, "Laterality")
    return {"L": "left", "R": "right"}.get(stated.upper(), "")


def _is_chest(text: str) -> bool:
    """Whether free text names the chest and nothing else of the trunk: devices write CHEST PA, TORAX, Thorax ap."""
    return bool(CHEST.search(text)) and not MORE_THAN_CHEST.search(text)


def text_of(dataset: Any, name: str) -> str:
    """One text value of a data set; empty where it is absent or cannot be read."""
    return _text(dataset, name)


def age_years(text: str) -> float | None:
    """Years of an Age String (PS3.5 6.2: three digits and D, W, M or Y); None for anything else."""
    stated = re.fullmatch(r"(\d{3})([DWMY])", text)
    return int(stated[1]) / {"D": 365.25, "W": 52.18, "M": 12.0, "Y": 1.0}[stated[2]] if stated else None


def _age_years(dataset: Any) -> float | None:
    stated = age_years(_text(dataset, "PatientAge"))
    if stated is not None:
        return stated
    born, seen = _text(dataset, "PatientBirthDate"), _text(dataset, "StudyDate")
    if re.fullmatch(r"\d{8}", born) and re.fullmatch(r"\d{8}", seen):
        years = int(seen[:4]) - int(born[:4]) - (seen[4:] < born[4:])
        return float(years) if 0 <= years <= 130 else None
    return None


def _decode(source: DicomObject) -> DecodedImage:
    dataset, header = source.dataset, source.header
    _refuse_impossible(source)
    stored, photometric, bits = frame_values(dataset, header)
    if stored.dtype.kind == "f" and not np.isfinite(stored).all():
        raise Unprocessable("the pixel data holds values that are not numbers (NaN or infinity)")
    if photometric == "PALETTE COLOR":
        stored, photometric = apply_color_lut(stored, dataset), "RGB"
        bits = stored.dtype.itemsize * 8
    photometric = _as_presented(photometric, _text(dataset, "PresentationLUTShape").upper())
    image = DecodedImage(stored, photometric, bits, header, frames=header.frames, padding=_padding(dataset))
    if photometric == "RGB":
        return replace(image, padding=None)
    slope, intercept = _rescale(dataset)
    return replace(
        image,
        slope=slope,
        intercept=intercept,
        modality_table=_table(dataset, "ModalityLUTSequence", stored),
        voi_table=_table(dataset, "VOILUTSequence", stored),
        window=_window(dataset),
    )


def _as_presented(photometric: str, shape: str) -> str:
    """Greys that contradict their Presentation LUT Shape (2050,0020) are shown as the shape says (PS3.3 C.11.6)."""
    if not photometric.startswith("MONOCHROME"):
        return photometric
    return {"INVERSE": "MONOCHROME1", "IDENTITY": "MONOCHROME2"}.get(shape, photometric)


def _refuse_impossible(source: DicomObject) -> None:
    dataset, header = source.dataset, source.header
    if not any(name in dataset for name in PIXEL_TAGS):
        raise Unprocessable("the object holds no pixel data")
    if not header.transfer_syntax_uid:
        raise Unprocessable("the transfer syntax is not stated (0002,0010)")
    needed = ["Rows", "Columns", "BitsAllocated", "PhotometricInterpretation"]
    absent = [name for name in needed if not _text(dataset, name)]
    if absent:
        raise Unprocessable("the header lacks " + ", ".join(absent))
    if header.rows < 1 or header.columns < 1:
        raise Unprocessable(f"the header states an image of {header.rows} x {header.columns} pixels")
    if header.rows * header.columns > MAX_PIXELS:
        raise Unprocessable(f"{header.rows} x {header.columns} pixels are more than the limit of {MAX_PIXELS}")
    stated = _text(dataset, "NumberOfFrames")
    if stated and not (stated.isdigit() and 1 <= int(stated) <= MAX_FRAMES):
        raise Unprocessable("the number of frames is not a number between 1 and 1,000,000")


def _functional(dataset: Any, group: str) -> Any:
    """The item of an enhanced object's functional group that holds for the first frame, shared or its own."""
    for sequence in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        items = dataset.get(sequence, None)
        if items and items[0].get(group, None):
            return items[0][group].value[0]
    return None


def _rescale(dataset: Any) -> tuple[float, float]:
    holder = _functional(dataset, "PixelValueTransformationSequence") or dataset
    slope, intercept = _number(holder.get("RescaleSlope", None)), _number(holder.get("RescaleIntercept", None))
    return (slope or 1.0), (intercept or 0.0)


def _window(dataset: Any) -> Window | None:
    holder = _functional(dataset, "FrameVOILUTSequence") or dataset
    center, width = _number(_text(holder, "WindowCenter")), _number(_text(holder, "WindowWidth"))
    if center is None or width is None or width <= 0:
        return None
    function = _text(holder, "VOILUTFunction").upper()
    if function == "SIGMOID":
        return Window(center, width, "SIGMOID")
    return Window(center, width, "LINEAR_EXACT" if function == "LINEAR_EXACT" else "LINEAR")


def _padding(dataset: Any) -> tuple[float, float] | None:
    value = _number(_text(dataset, "PixelPaddingValue"))
    if value is None:
        return None
    limit = _number(_text(dataset, "PixelPaddingRangeLimit"))
    return (min(value, limit), max(value, limit)) if limit is not None else (value, value)


def _table(dataset: Any, sequence: str, stored: Pixels) -> Table | None:
    """The first look-up table of a sequence; its descriptor counts 65536 entries as 0 (PS3.3 C.11.1.1)."""
    items = dataset.get(sequence, None)
    if not items or stored.dtype.kind == "f":
        return None
    item = items[0]
    descriptor, data = item.get("LUTDescriptor", None), item.get("LUTData", None)
    if descriptor is None or data is None or len(descriptor) != 3:
        return None
    count, first, bits = (int(number) for number in descriptor)
    count = count or 65536
    if isinstance(data, bytes):
        packed = len(data) == count
        order = "<" if dataset.original_encoding[1] is not False else ">"
        entries = np.frombuffer(data, np.uint8 if packed else order + "u2").astype(np.uint16)
    else:
        entries = np.atleast_1d(np.asarray(data)).astype(np.uint16)
    if dataset.get("PixelRepresentation", 0) == 1 and first >= 1 << 15:
        first -= 1 << 16
    if len(entries) < count or not 1 <= bits <= 16:
        return None
    return Table(first, entries[:count], bits)
