"""Stored values to display greys by PS3.3 C.7.6.3, C.11.1 and C.11.2, with numbers worked out by hand (CC8)."""

import io
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless

from adapters.dicom_reading import decode_dicom, read_header
from adapters.imaging import Window, decode_picture, pixel_hash, to_display, windowed
from schemas.errors import Unprocessable


def dicom(stored: np.ndarray, syntax: str = ExplicitVRLittleEndian, **elements: object) -> bytes:
    """A small CR object of these stored values; `elements` override or, as None, remove what it would say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom complains of the very faults that these tests need
        return _dicom(stored, syntax, elements)


def _dicom(stored: np.ndarray, syntax: str, elements: dict[str, object]) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.SOPInstanceUID = "2.25.1"
    dataset.Modality = "CR"
    dataset.Rows, dataset.Columns = stored.shape[:2]
    dataset.SamplesPerPixel = 3 if stored.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if stored.ndim == 3 else "MONOCHROME2"
    if stored.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = stored.dtype.itemsize * 8
    dataset.BitsStored = dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    big = syntax == ExplicitVRBigEndian
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder(">" if big else "<")).tobytes()
    dataset["PixelData"].VR = "OB" if stored.dtype.itemsize == 1 else "OW"
    for name, value in elements.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True, little_endian=not big, implicit_vr=False)
    return buffer.getvalue()


def shown(stored: np.ndarray, **elements: object) -> list[int]:
    return to_display(decode_dicom(dicom(stored, ExplicitVRLittleEndian, **elements))).ravel().tolist()


def lut(first: int, bits: int, entries: list[int]) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return [item]


def test_a_linear_window_follows_the_standards_formula() -> None:
    # c 100, w 11: ((x - 99.5) / 10 + 0.5) * 255 -> 94: -0.05 -> 0; 99.5 +- ; 100: 0.55 -> 140; 105: 1.05 -> 255
    stored = np.array([[90, 95, 100, 105]], np.uint16)
    assert shown(stored, WindowCenter=100, WindowWidth=11) == [0, 13, 140, 255]


def test_an_exact_linear_window_has_no_half_pixel() -> None:
    # ((x - 100) / 10 + 0.5) * 255
    stored = np.array([[90, 95, 100, 104]], np.uint16)
    window = {"WindowCenter": 100, "WindowWidth": 10, "VOILUTFunction": "LINEAR_EXACT"}
    assert shown(stored, **window) == [0, 0, 128, 230]


def test_a_sigmoid_window_is_one_half_at_its_centre() -> None:
    # 255 / (1 + exp(-4 (x - 100) / 40))
    stored = np.array([[60, 90, 100, 140]], np.uint16)
    window = {"WindowCenter": 100, "WindowWidth": 40, "VOILUTFunction": "SIGMOID"}
    assert shown(stored, **window) == [5, 69, 128, 250]


def test_a_window_of_width_one_is_a_step() -> None:
    values = np.array([9.0, 9.5, 9.6, 10.0])
    assert windowed(values, Window(10.0, 1.0)).tolist() == [0.0, 0.0, 1.0, 1.0]


def test_the_first_of_several_windows_holds() -> None:
    stored = np.array([[90, 95, 100, 105]], np.uint16)
    several = {"WindowCenter": [100, 5], "WindowWidth": [11, 2]}
    assert shown(stored, **several) == [0, 13, 140, 255]


def test_rescaling_comes_before_the_window() -> None:
    # Hounsfield = 2 x - 1000: 500 -> 0, 520 -> 40; window 40/81: ((v - 39.5) / 80 + 0.5) * 255
    stored = np.array([[500, 520]], np.uint16)
    image = decode_dicom(dicom(stored, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=40, WindowWidth=81))
    assert image.values().tolist() == [[0.0, 40.0]]
    assert to_display(image).tolist() == [[2, 129]]


def test_signed_values_stay_signed() -> None:
    stored = np.array([[-1024, 0, 1023]], np.int16)
    assert shown(stored, WindowCenter=0, WindowWidth=2048) == [0, 128, 255]


def test_a_modality_table_replaces_slope_and_extends_its_ends() -> None:
    stored = np.array([[0, 10, 11, 12, 99]], np.uint16)
    image = decode_dicom(dicom(stored, ModalityLUTSequence=lut(10, 16, [5, 50, 500])))
    assert image.values().tolist() == [[5.0, 5.0, 50.0, 500.0, 500.0]]


def test_a_voi_table_wins_over_a_window() -> None:
    stored = np.array([[0, 1, 2, 3]], np.uint16)
    both = {"VOILUTSequence": lut(0, 8, [255, 128, 64, 0]), "WindowCenter": 2, "WindowWidth": 3}
    assert shown(stored, **both) == [255, 128, 64, 0]


def test_monochrome1_is_shown_inverted() -> None:
    stored = np.array([[0, 100, 255]], np.uint8)
    assert shown(stored, PhotometricInterpretation="MONOCHROME1") == [255, 155, 0]


def test_eight_bit_values_without_a_window_are_shown_as_they_are() -> None:
    assert shown(np.array([[10, 20, 30]], np.uint8)) == [10, 20, 30]


def test_twelve_bit_values_without_a_window_fill_the_greys_they_use() -> None:
    stored = np.array([[100, 300, 500]], np.uint16)
    assert shown(stored, BitsStored=12, HighBit=11) == [0, 128, 255]


def test_one_stray_pixel_does_not_darken_an_image_without_a_window() -> None:
    stored = np.tile(np.linspace(0, 1000, 200, dtype=np.uint16), (200, 1))
    stored[0, 0] = 65535
    assert int(np.median(to_display(decode_dicom(dicom(stored))))) in range(120, 136)


def test_padding_is_black_and_does_not_count_for_the_range() -> None:
    stored = np.array([[-2000, 100, 300, 500]], np.int16)
    assert shown(stored, PixelPaddingValue=-2000) == [0, 0, 128, 255]


def test_padding_of_monochrome1_is_black_too() -> None:
    stored = np.array([[0, 100, 300, 500]], np.uint16)
    padded = {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 0, "BitsStored": 12, "HighBit": 11}
    assert shown(stored, **padded) == [0, 255, 128, 0]


def test_a_window_that_shows_nothing_gives_way_to_the_range() -> None:
    stored = np.array([[100, 300, 500]], np.uint16)
    assert shown(stored, WindowCenter=60000, WindowWidth=10, BitsStored=12, HighBit=11) == [0, 128, 255]


@pytest.mark.parametrize("broken", [{"WindowCenter": 5, "WindowWidth": 0}, {"WindowCenter": 5}])
def test_an_impossible_window_gives_way_to_the_range(broken: dict[str, int]) -> None:
    stored = np.array([[100, 300, 500]], np.uint16)
    assert shown(stored, BitsStored=12, HighBit=11, **broken) == [0, 128, 255]


def test_colour_becomes_luma() -> None:
    stored = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    assert shown(stored) == [76, 150, 29, 255]


def test_palette_colours_become_luma() -> None:
    stored = np.array([[0, 1]], np.uint8)
    palette = dict.fromkeys(("Red", "Green", "Blue"))
    elements: dict[str, object] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for colour in palette:
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = [2, 0, 16]
        elements[f"{colour}PaletteColorLookupTableData"] = np.array([0, 0xFFFF], "<u2").tobytes()
    assert shown(stored, **elements) == [0, 255]


def test_bits_above_those_stored_are_ignored() -> None:
    overlaid = np.array([[0x1005, 0x000A]], np.uint16)  # bit 12 holds an old-style overlay
    assert decode_dicom(dicom(overlaid, BitsStored=12, HighBit=11)).stored.tolist() == [[5, 10]]


@pytest.mark.parametrize("high", [11, 13, 15])
def test_twelve_bits_are_found_wherever_high_bit_says_that_they_lie(high: int) -> None:
    # What lies below and above belongs to somebody else: here all ones.
    values, shift = np.array([[0, 1, 0x7FF, 0x800, 0xFFF]], np.uint16), high - 11
    others = np.uint16(0xFFFF & ~(0xFFF << shift))
    read = decode_dicom(dicom((values << shift) | others, BitsStored=12, HighBit=high))
    assert read.stored.tolist() == values.tolist()
    signed = decode_dicom(dicom(((values << shift) | others).view(np.int16), BitsStored=12, HighBit=high))
    assert signed.stored.tolist() == [[0, 1, 2047, -2048, -1]]


@pytest.mark.parametrize(
    ("photometric", "shape", "expected"),
    [
        ("MONOCHROME1", "INVERSE", [255, 155, 0]),
        ("MONOCHROME2", "IDENTITY", [0, 100, 255]),
        ("MONOCHROME2", "INVERSE", [255, 155, 0]),
        ("MONOCHROME1", "IDENTITY", [0, 100, 255]),
    ],
)
def test_the_presentation_shape_decides_what_is_white(photometric: str, shape: str, expected: list[int]) -> None:
    stored = np.array([[0, 100, 255]], np.uint8)
    assert shown(stored, PhotometricInterpretation=photometric, PresentationLUTShape=shape) == expected


def test_of_several_frames_the_first_is_read() -> None:
    stored = np.arange(8, dtype=np.uint8).reshape(4, 2)
    image = decode_dicom(dicom(stored, Rows=2, NumberOfFrames=2))
    assert (image.stored.tolist(), image.frames) == ([[0, 1], [2, 3]], 2)


def test_the_hash_is_that_of_the_image_not_of_its_encoding() -> None:
    stored = np.arange(64, dtype=np.uint16).reshape(8, 8) * 100
    plain = decode_dicom(dicom(stored))
    swapped = decode_dicom(dicom(stored, ExplicitVRBigEndian))
    packed = pydicom.dcmread(io.BytesIO(dicom(stored)))
    packed.compress(RLELossless)
    buffer = io.BytesIO()
    packed.save_as(buffer)
    renamed = decode_dicom(dicom(stored, PatientName="Other^Name", SOPInstanceUID="2.25.2"))
    assert {pixel_hash(image) for image in (swapped, decode_dicom(buffer.getvalue()), renamed)} == {pixel_hash(plain)}


def test_the_hash_changes_with_one_value_the_shape_or_the_photometric_sense() -> None:
    stored = np.arange(64, dtype=np.uint16).reshape(8, 8)
    other = stored.copy()
    other[0, 0] += 1
    made = [
        dicom(stored),
        dicom(other),
        dicom(stored.reshape(4, 16)),
        dicom(stored, PhotometricInterpretation="MONOCHROME1"),
    ]
    assert len({pixel_hash(decode_dicom(data)) for data in made}) == 4


@pytest.mark.parametrize(
    ("elements", "part"),
    [
        ({"BodyPartExamined": "CHEST"}, "CHEST"),
        ({"BodyPartExamined": "thorax ap"}, "CHEST"),
        ({"BodyPartExamined": "TORAX"}, "CHEST"),
        ({"BodyPartExamined": "CHESTABDOMEN"}, "CHESTABDOMEN"),
        ({"BodyPartExamined": "HAND", "StudyDescription": "chest"}, "HAND"),
        ({"SeriesDescription": "W034 Chest PA"}, "CHEST"),
        ({"StudyDescription": "knee"}, ""),
        ({"StudyDescription": "XR Wrist left 2 views"}, "WRIST"),
        ({"BodyPartExamined": "L UPPER ARM"}, "HUMERUS"),
        ({"BodyPartExamined": "FOREARM", "StudyDescription": "wrist"}, "FOREARM"),
        ({"StudyDescription": "chest, right shoulder"}, "CHEST"),
        ({"StudyDescription": "alarm"}, ""),
        ({}, ""),
    ],
)
def test_the_body_part_is_read_from_its_tag_or_the_descriptions(elements: dict[str, str], part: str) -> None:
    assert read_header(dicom(np.ones((4, 4), np.uint8), **elements)).body_part == part


@pytest.mark.parametrize(
    ("elements", "years"),
    [
        ({"PatientAge": "045Y"}, 45.0),
        ({"PatientAge": "006M"}, 0.5),
        ({"PatientBirthDate": "20200602", "StudyDate": "20240601"}, 3.0),
        ({"PatientAge": "old"}, None),
        ({}, None),
    ],
)
def test_the_age_is_read_in_years(elements: dict[str, str], years: float | None) -> None:
    assert read_header(dicom(np.ones((4, 4), np.uint8), **elements)).patient_age_years == years


def test_a_picture_is_read_in_its_own_depth() -> None:
    from PIL import Image

    deep = np.array([[0, 30000], [50000, 65535]], np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(deep).save(buffer, "PNG")
    image = decode_picture(buffer.getvalue())
    assert (image.stored.tolist(), image.bits_stored) == (deep.tolist(), 16)


def test_a_cut_off_picture_and_a_text_are_unprocessable() -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(buffer, "JPEG")
    with pytest.raises(Unprocessable, match="cut off"):
        decode_picture(buffer.getvalue()[:900])
    with pytest.raises(Unprocessable, match="not a picture"):
        decode_picture(b"<html>no</html>")
