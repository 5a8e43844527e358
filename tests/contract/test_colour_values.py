"""Colour images to sRGB by PS3.3 C.7.6.3.1.2, worked out by hand, and pictures as doors store them (OT1)."""

import io
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adapters import imaging
from adapters.dicom_reading import decode_dicom
from adapters.stored_image import open_image
from schemas.errors import Unprocessable
from tests.contract.test_dicom_pixels_values import dicom

Y, CB, CR = 100, 128, 178
# R = Y + 1.402 (Cr - 128) = 170.1, G = Y - 0.344 (Cb - 128) - 0.714 (Cr - 128) = 64.3, B = Y + 1.772 (Cb - 128) = 100
AS_RGB = (170, 64, 100)


def colours(data: bytes) -> list[tuple[int, ...]]:
    """The pixels as tuples, row by row."""
    shown = imaging.to_colour(decode_dicom(data))
    assert shown is not None
    assert shown.dtype == np.uint8
    return [tuple(int(value) for value in pixel) for pixel in shown.reshape(-1, 3)]


def test_rgb_is_taken_as_it_is() -> None:
    stored = np.array([[[255, 0, 10], [1, 2, 3]]], dtype=np.uint8)
    assert colours(dicom(stored)) == [(255, 0, 10), (1, 2, 3)]


def test_planes_are_put_together() -> None:
    """Planar Configuration 1: all red, then all green, then all blue."""
    planes = np.array([[[255, 1], [0, 2], [10, 3]]], dtype=np.uint8)
    data = dicom(np.zeros((1, 2, 3), np.uint8), PlanarConfiguration=1, PixelData=planes.tobytes())
    assert colours(data) == [(255, 0, 10), (1, 2, 3)]


def test_full_luminance_and_chrominance_become_rgb() -> None:
    stored = np.array([[[Y, CB, CR], [50, 128, 128]]], dtype=np.uint8)
    assert colours(dicom(stored, PhotometricInterpretation="YBR_FULL")) == [AS_RGB, (50, 50, 50)]


def test_two_pixels_share_their_chrominance() -> None:
    """YBR_FULL_422: Y1 Y2 Cb Cr for each pair of pixels."""
    data = dicom(
        np.zeros((1, 2, 3), np.uint8), PhotometricInterpretation="YBR_FULL_422", PixelData=bytes([Y, 50, CB, CR])
    )
    assert colours(data) == [AS_RGB, (120, 14, 50)]


def test_deeper_channels_keep_their_upper_eight_bits() -> None:
    stored = np.array([[[65535, 0, 32768], [257, 514, 0]]], dtype=np.uint16)
    assert colours(dicom(stored)) == [(255, 0, 128), (1, 2, 0)]


def test_a_palette_is_looked_up() -> None:
    tables = {
        "Red": [0, 65535, 0x8000],
        "Green": [0, 0, 65535],
        "Blue": [257, 0, 0],
    }
    palette: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, entries in tables.items():
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
        palette[f"{name}PaletteColorLookupTableData"] = np.array(entries, dtype="<u2").tobytes()
    assert colours(dicom(np.array([[0, 1, 2]], np.uint8), **palette)) == [(0, 0, 1), (255, 0, 0), (128, 255, 0)]


@pytest.mark.parametrize(
    "data",
    [
        dicom(np.array([[1, 2]], np.uint8)),
        dicom(np.array([[[7, 7, 7], [9, 9, 9]]], np.uint8)),
    ],
    ids=["one channel", "three equal channels"],
)
def test_an_image_without_colour_has_none_to_show(data: bytes) -> None:
    assert imaging.to_colour(decode_dicom(data)) is None


def test_the_content_of_a_colour_image_is_that_of_its_pixels_in_either_order_of_planes() -> None:
    stored = np.array([[[255, 0, 10], [1, 2, 3]]], dtype=np.uint8)
    planes = stored.transpose(2, 0, 1).tobytes()
    other = dicom(stored, PlanarConfiguration=1, PixelData=planes, PatientName="Other")
    assert imaging.pixel_hash(decode_dicom(other)) == imaging.pixel_hash(decode_dicom(dicom(stored)))


def picture(form: str = "PNG", size: tuple[int, int] = (40, 30), **save: object) -> bytes:
    """A coloured picture, columns x rows, darker to the right."""
    columns, rows = size
    ramp = np.zeros((rows, columns, 3), np.uint8)
    ramp[..., 0] = np.linspace(250, 10, columns, dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(ramp).save(stream, form, **save)
    return stream.getvalue()


@pytest.mark.parametrize(("form", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg")])
def test_a_picture_is_an_external_camera_photograph_of_an_ear(form: str, media_type: str) -> None:
    opened = open_image(picture(form), media_type, laterality="left")
    header = opened.header
    assert (header.modality, header.body_part, header.laterality) == ("XC", "EAR", "left")
    assert (header.rows, header.columns, header.frames) == (30, 40, 1)
    shown = imaging.to_colour(opened.decode())
    assert shown is not None
    assert shown.shape == (30, 40, 3)
    assert int(shown[0, 0, 0]) > 230 > 30 > int(shown[0, -1, 0])


def test_a_camera_that_was_held_upright_turns_rows_and_columns() -> None:
    turned = Image.Exif()
    turned[imaging.ORIENTATION] = 6
    opened = open_image(picture("JPEG", exif=turned), "image/jpeg")
    assert (opened.header.rows, opened.header.columns) == (40, 30)
    assert opened.decode().stored.shape[:2] == (40, 30)


@pytest.mark.parametrize(
    ("data", "media_type", "said"),
    [
        (picture("PNG")[:-40], "image/png", "damaged or cut off"),
        (picture("JPEG")[:300], "image/jpeg", "damaged or cut off"),
        (picture("PNG"), "image/jpeg", "not a picture"),
        (b"<html>no</html>", "image/png", "not a picture"),
        (b"", "image/jpeg", "not a picture"),
        (picture("PNG"), "image/gif", "DICOM, JPEG and PNG are"),
        (picture("PNG"), "application/dicom", "it is a picture"),
    ],
)
def test_what_is_no_picture_says_so(data: bytes, media_type: str, said: str) -> None:
    with pytest.raises(Unprocessable, match=said):
        open_image(data, media_type).decode()


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_picture_that_would_fill_the_memory_is_refused_before_it_is_unpacked(side: int) -> None:
    """144 million and 3.6 thousand million pixels announced by a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + check

    size = side.to_bytes(4, "big") * 2
    header = chunk(b"IHDR", size + bytes([8, 2, 0, 0, 0]))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    with pytest.raises(Unprocessable, match="pixels"):
        open_image(bomb, "image/png")
